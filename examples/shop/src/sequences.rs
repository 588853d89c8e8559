//! Whether the events of a key arrive in their order.

use std::collections::HashMap;

/// How an event follows the one before it of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first one seen of its key, or one that comes after all seen before.
    Forward,
    /// The last one once more: a record sent twice.
    Repeated,
    /// One that comes before the `last` one seen: out of order, or a replay.
    Backward {
        /// The highest sequence seen of the key.
        last: u64,
    },
}

/// The highest sequence of each key, for the keys that were busy lately.
///
/// Memory is bounded: a key that stayed quiet while `2 * keys_max` others were busy may be forgotten and then
/// begins anew.
#[derive(Debug)]
pub struct Sequences {
    keys_max: usize,
    young: HashMap<String, u64>,
    old: HashMap<String, u64>,
}

impl Sequences {
    /// Remembers at least the last `keys_max` keys and at most twice as many.
    pub fn new(keys_max: usize) -> Sequences {
        Sequences { keys_max, young: HashMap::new(), old: HashMap::new() }
    }

    /// Enters an event of `key`; `sequence` grows along the key, gaps are fine.
    pub fn observe(&mut self, key: &str, sequence: u64) -> Step {
        let last = self.young.get(key).or_else(|| self.old.get(key)).copied();
        let step = match last {
            Some(last) if sequence == last => Step::Repeated,
            Some(last) if sequence < last => Step::Backward { last },
            _ => Step::Forward,
        };
        if self.young.len() >= self.keys_max && !self.young.contains_key(key) {
            self.old = std::mem::take(&mut self.young);
        }
        let highest = last.map_or(sequence, |last| last.max(sequence));
        self.young.insert(key.to_owned(), highest);
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_forward_with_gaps() {
        let mut sequences = Sequences::new(10);
        let steps = [1, 2, 5].map(|sequence| sequences.observe("a", sequence));
        assert_eq!(steps, [Step::Forward; 3]);
    }

    #[test]
    fn an_earlier_event_after_a_later_one_is_a_step_backward() {
        let mut sequences = Sequences::new(10);
        sequences.observe("a", 3);
        assert_eq!(sequences.observe("a", 1), Step::Backward { last: 3 });
        assert_eq!(sequences.observe("a", 2), Step::Backward { last: 3 });
        assert_eq!(sequences.observe("a", 4), Step::Forward);
    }

    #[test]
    fn the_same_event_again_is_a_repetition() {
        let mut sequences = Sequences::new(10);
        sequences.observe("a", 1);
        assert_eq!(sequences.observe("a", 1), Step::Repeated);
    }

    #[test]
    fn keys_do_not_touch_each_other() {
        let mut sequences = Sequences::new(10);
        sequences.observe("a", 9);
        assert_eq!(sequences.observe("b", 1), Step::Forward);
    }

    #[test]
    fn memory_is_bounded_and_holds_the_busy_keys() {
        let mut sequences = Sequences::new(10);
        sequences.observe("busy", 1_000);
        for key in 0..1_000_u64 {
            sequences.observe(&format!("key {key}"), 1);
            assert_eq!(sequences.observe("busy", 1), Step::Backward { last: 1_000 });
        }
        assert!(sequences.young.len() + sequences.old.len() <= 20);
    }
}
