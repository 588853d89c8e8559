//! Checks the order of the events of each key.

use std::collections::HashMap;

/// The relation of an event to the earlier ones of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceStep {
    /// The first event of its key, or a higher sequence than all before.
    Forward,
    /// The same sequence as the last: a record sent twice.
    Repeated,
    /// A lower sequence than `last`: out of order, or a replay.
    Backward {
        /// The highest sequence seen of the key.
        last: u64,
    },
}

/// The highest sequence of each recently used key.
///
/// Memory is bounded: a key that is idle while `2 * keys_max` others are used may be evicted; its next event is then
/// `Forward`.
#[derive(Debug)]
pub struct SequenceTracker {
    keys_max: usize,
    recent: HashMap<String, u64>,
    previous: HashMap<String, u64>,
}

impl SequenceTracker {
    /// Keeps at least the last `keys_max` keys and at most twice as many.
    pub fn new(keys_max: usize) -> SequenceTracker {
        SequenceTracker { keys_max, recent: HashMap::new(), previous: HashMap::new() }
    }

    /// Records an event of `key`; sequences grow within a key, gaps are allowed.
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
    fn observe_accepts_gaps() {
        let mut tracker = SequenceTracker::new(10);
        let steps = [1, 2, 5].map(|sequence| tracker.observe("a", sequence));
        assert_eq!(steps, [SequenceStep::Forward; 3]);
    }

    #[test]
    fn observe_reports_a_lower_sequence_as_backward() {
        let mut tracker = SequenceTracker::new(10);
        tracker.observe("a", 3);
        assert_eq!(tracker.observe("a", 1), SequenceStep::Backward { last: 3 });
        assert_eq!(tracker.observe("a", 2), SequenceStep::Backward { last: 3 });
        assert_eq!(tracker.observe("a", 4), SequenceStep::Forward);
    }

    #[test]
    fn observe_reports_the_same_sequence_as_repeated() {
        let mut tracker = SequenceTracker::new(10);
        tracker.observe("a", 1);
        assert_eq!(tracker.observe("a", 1), SequenceStep::Repeated);
    }

    #[test]
    fn observe_keeps_keys_apart() {
        let mut tracker = SequenceTracker::new(10);
        tracker.observe("a", 9);
        assert_eq!(tracker.observe("b", 1), SequenceStep::Forward);
    }

    #[test]
    fn observe_evicts_idle_keys_and_keeps_used_ones() {
        let mut tracker = SequenceTracker::new(10);
        tracker.observe("busy", 1_000);
        for key in 0..1_000_u64 {
            tracker.observe(&format!("key {key}"), 1);
            assert_eq!(tracker.observe("busy", 1), SequenceStep::Backward { last: 1_000 });
        }
        assert!(tracker.recent.len() + tracker.previous.len() <= 20);
    }
}
