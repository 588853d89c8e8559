//! Whether the events of a key arrive in their order.

use std::collections::HashMap;

/// How an event follows the one before it of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceStep {
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
pub struct SequenceTracker {
    keys_max: usize,
    recent: HashMap<String, u64>,
    previous: HashMap<String, u64>,
}

impl SequenceTracker {
    /// Remembers at least the last `keys_max` keys and at most twice as many.
    pub fn new(keys_max: usize) -> SequenceTracker {
        SequenceTracker { keys_max, recent: HashMap::new(), previous: HashMap::new() }
    }

    /// Enters an event of `key`; `sequence` grows along the key, gaps are fine.
    pub fn observe(&mut self, key: &str, sequence: u64) -> SequenceStep {
        let last = self.recent.get(key).or_else(|| self.previous.get(key)).copied();
        let step = match last {
            Some(last) if sequence == last => SequenceStep::Repeated,
            Some(last) if sequence < last => SequenceStep::Backward { last },
            _ => SequenceStep::Forward,
        };
        if self.recent.len() >= self.keys_max && !self.recent.contains_key(key) {
            self.previous = std::mem::take(&mut self.recent);
        }
        let highest = last.map_or(sequence, |last| last.max(sequence));
        self.recent.insert(key.to_owned(), highest);
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_forward_with_gaps() {
        let mut tracker = SequenceTracker::new(10);
        let steps = [1, 2, 5].map(|sequence| tracker.observe("a", sequence));
        assert_eq!(steps, [SequenceStep::Forward; 3]);
    }

    #[test]
    fn an_earlier_event_after_a_later_one_is_a_step_backward() {
        let mut tracker = SequenceTracker::new(10);
        tracker.observe("a", 3);
        assert_eq!(tracker.observe("a", 1), SequenceStep::Backward { last: 3 });
        assert_eq!(tracker.observe("a", 2), SequenceStep::Backward { last: 3 });
        assert_eq!(tracker.observe("a", 4), SequenceStep::Forward);
    }

    #[test]
    fn the_same_event_again_is_a_repetition() {
        let mut tracker = SequenceTracker::new(10);
        tracker.observe("a", 1);
        assert_eq!(tracker.observe("a", 1), SequenceStep::Repeated);
    }

    #[test]
    fn keys_do_not_touch_each_other() {
        let mut tracker = SequenceTracker::new(10);
        tracker.observe("a", 9);
        assert_eq!(tracker.observe("b", 1), SequenceStep::Forward);
    }

    #[test]
    fn memory_is_bounded_and_holds_the_busy_keys() {
        let mut tracker = SequenceTracker::new(10);
        tracker.observe("busy", 1_000);
        for key in 0..1_000_u64 {
            tracker.observe(&format!("key {key}"), 1);
            assert_eq!(tracker.observe("busy", 1), SequenceStep::Backward { last: 1_000 });
        }
        assert!(tracker.recent.len() + tracker.previous.len() <= 20);
    }
}
