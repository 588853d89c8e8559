//! The partition of a key.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use murmur2::{KAFKA_SEED, murmur2};
use rdkafka::producer::Partitioner;

/// Chooses partitions as Java's default partitioner does, and knows how many each topic has.
///
/// librdkafka has the same partitioner built in, but does not reveal a record's partition before its delivery report.
#[derive(Debug)]
pub(crate) struct KeyPartitioner {
    without_key: WithoutKey,
    /// The number of partitions that each topic had when a record was last assigned to one.
    counts: Mutex<HashMap<Box<str>, i32>>,
}

/// Where records without a key go.
#[derive(Debug)]
enum WithoutKey {
    /// All to one partition, as those with an empty key (`partitioner = murmur2`).
    LikeEmptyKey,
    /// To one after the other. Only if `sticky.partitioning.linger.ms` is 0: otherwise librdkafka does not ask.
    InTurn(AtomicU32),
}

impl KeyPartitioner {
    /// For librdkafka's `partitioner` of this name, `murmur2` or `murmur2_random`.
    pub(crate) fn new(partitioner: &str) -> Self {
        let without_key = match partitioner {
            "murmur2" => WithoutKey::LikeEmptyKey,
            _ => WithoutKey::InTurn(AtomicU32::new(0)),
        };
        KeyPartitioner { without_key, counts: Mutex::default() }
    }

    /// The partition to which a record with this key will go; `None` before a record was assigned to a partition of the
    /// topic.
    pub(crate) fn partition_of(&self, topic: &str, key: &[u8]) -> Option<i32> {
        self.counts().get(topic).map(|count| partition_of(key, *count))
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Box<str>, i32>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Partitioner for KeyPartitioner {
    fn partition(
        &self,
        topic_name: &str,
        key: Option<&[u8]>,
        partition_cnt: i32,
        _is_partition_available: impl Fn(i32) -> bool,
    ) -> i32 {
        let mut counts = self.counts();
        match counts.get_mut(topic_name) {
            Some(count) => *count = partition_cnt,
            None => {
                counts.insert(topic_name.into(), partition_cnt);
            }
        }
        drop(counts);
        match (key, &self.without_key) {
            (Some(key), _) => partition_of(key, partition_cnt),
            (None, WithoutKey::LikeEmptyKey) => partition_of(&[], partition_cnt),
            (None, WithoutKey::InTurn(next)) => modulo(next.fetch_add(1, Ordering::Relaxed), partition_cnt),
        }
    }
}

fn partition_of(key: &[u8], count: i32) -> i32 {
    modulo(murmur2(key, KAFKA_SEED), count)
}

/// Java's `toPositive` clears the sign bit.
fn modulo(hash: u32, count: i32) -> i32 {
    (hash & 0x7fff_ffff).cast_signed() % count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assign(partitioner: &KeyPartitioner, key: Option<&[u8]>, count: i32) -> i32 {
        partitioner.partition("orders", key, count, |_| true)
    }

    #[test]
    fn partition_of_predicts_what_is_assigned_once_the_topic_is_known() {
        let partitioner = KeyPartitioner::new("murmur2_random");
        assert_eq!(partitioner.partition_of("orders", b"order-42"), None);
        for count in [1, 3, 12] {
            let assigned = assign(&partitioner, Some(b"order-42"), count);
            assert_eq!(partitioner.partition_of("orders", b"order-42"), Some(assigned));
        }
        assert_eq!(partitioner.partition_of("payments", b"order-42"), None);
    }

    #[test]
    fn partition_without_a_key_follows_the_partitioner_setting() {
        let in_turn = KeyPartitioner::new("murmur2_random");
        let partitions: Vec<i32> = (0..4).map(|_| assign(&in_turn, None, 3)).collect();
        assert_eq!(partitions, [0, 1, 2, 0]);
        let like_empty = KeyPartitioner::new("murmur2");
        assert_eq!(assign(&like_empty, None, 7), assign(&like_empty, Some(b""), 7));
    }
}
