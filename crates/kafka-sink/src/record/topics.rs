//! Topic names: Kafka's rule for them, and one shared copy of each.

use std::collections::HashMap;
use std::sync::Arc;

/// Thousands of topics fit. A template with a column that is unique per row does not fill the memory.
const TOPICS_MAX: usize = 4096;

/// Kafka's limit, so that a partition's directory name has at most 255 bytes.
const NAME_BYTES_MAX: usize = 249;

/// One shared copy of each topic name in use.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    names: HashMap<Box<[u8]>, Arc<str>>,
}

impl Topics {
    /// The shared copy of `name`, or why Kafka rejects the name.
    pub(crate) fn intern(&mut self, name: &[u8]) -> Result<Arc<str>, &'static str> {
        if let Some(topic) = self.names.get(name) {
            return Ok(Arc::clone(topic));
        }
        let topic: Arc<str> = Arc::from(check(name)?);
        if self.names.len() >= TOPICS_MAX {
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

/// Whether Kafka accepts the character in a topic name.
pub(crate) fn is_legal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn check_implements_kafkas_rule() {
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
    fn intern_returns_the_same_copy() {
        let mut topics = Topics::default();
        let first = topics.intern(b"orders").unwrap();
        assert!(Arc::ptr_eq(&first, &topics.intern(b"orders").unwrap()));
    }

    #[test]
    fn intern_bounds_the_copies() {
        let mut topics = Topics::default();
        for number in 0..3 * TOPICS_MAX {
            let name = format!("t{number}");
            assert_eq!(&*topics.intern(name.as_bytes()).unwrap(), name);
            assert!(topics.names.len() <= TOPICS_MAX);
        }
    }

    proptest! {
        #[test]
        fn intern_accepts_or_rejects_any_bytes(name in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut topics = Topics::default();
            if let Ok(topic) = topics.intern(&name) {
                prop_assert_eq!(topic.as_bytes(), name.as_slice());
            }
        }
    }
}
