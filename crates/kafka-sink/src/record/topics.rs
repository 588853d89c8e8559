//! Topic names: which Kafka takes, and one copy of each.

use std::collections::HashMap;
use std::sync::Arc;

/// A table of thousands of topics fits; a template over a column with a value per row does not fill the
/// memory.
const KEPT_MAX: usize = 4096;

/// Kafka's own bound, so that a partition's directory stays within 255 bytes.
const NAME_BYTES_MAX: usize = 249;

/// One shared copy of every topic name in use.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    names: HashMap<Box<[u8]>, Arc<str>>,
}

impl Topics {
    /// The shared copy of `name`; the reason, where Kafka does not take such a name.
    pub(crate) fn intern(&mut self, name: &[u8]) -> Result<Arc<str>, &'static str> {
        if let Some(topic) = self.names.get(name) {
            return Ok(Arc::clone(topic));
        }
        let topic: Arc<str> = Arc::from(check(name)?);
        if self.names.len() >= KEPT_MAX {
            self.names.clear();
        }
        self.names.insert(name.into(), Arc::clone(&topic));
        Ok(topic)
    }
}

/// Kafka's rule for topic names (`org.apache.kafka.common.internals.Topic.validate`).
pub(crate) fn check(name: &[u8]) -> Result<&str, &'static str> {
    if name.is_empty() {
        return Err("a topic's name cannot be empty");
    }
    if name.len() > NAME_BYTES_MAX {
        return Err("a topic's name has at most 249 characters");
    }
    if name == b"." || name == b".." {
        return Err("a topic's name cannot be \".\" or \"..\"");
    }
    if !name.iter().all(|byte| is_legal(*byte)) {
        return Err("a topic's name is made of letters, digits, '.', '_' and '-' alone");
    }
    std::str::from_utf8(name).map_err(|_| "a topic's name is ASCII")
}

/// Whether Kafka takes such a character in a topic's name.
pub(crate) fn is_legal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kafkas_rule_for_topic_names_is_kept() {
        let longest = "a".repeat(249);
        for name in ["a", "outbox.event.order", "A_b-9", "...", longest.as_str()] {
            assert_eq!(check(name.as_bytes()), Ok(name));
        }
        let too_long = "a".repeat(250);
        for name in ["", ".", "..", "a b", "a/b", "é", "a\0", too_long.as_str()] {
            assert!(check(name.as_bytes()).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_name_seen_again_is_the_same_copy() {
        let mut topics = Topics::default();
        let first = topics.intern(b"orders").unwrap();
        assert!(Arc::ptr_eq(&first, &topics.intern(b"orders").unwrap()));
    }

    #[test]
    fn the_copies_kept_are_bounded() {
        let mut topics = Topics::default();
        for number in 0..3 * KEPT_MAX {
            let name = format!("t{number}");
            assert_eq!(&*topics.intern(name.as_bytes()).unwrap(), name);
            assert!(topics.names.len() <= KEPT_MAX);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_name_or_an_error(name in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut topics = Topics::default();
            if let Ok(topic) = topics.intern(&name) {
                prop_assert_eq!(topic.as_bytes(), name.as_slice());
            }
        }
    }
}
