//! The first record of a partition is sent alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outbox::Token;

use crate::publish::delivery_report::DeliveryReport;

/// After this time without a record, the next record of a partition counts as its first again: the broker forgets a
/// producer after `producer.id.expiration.ms` (one day by default).
const OPEN_MAX: Duration = Duration::from_secs(600);

/// The partition of a topic; `None` while the number of the topic's partitions is unknown.
type TopicPartition = (Arc<str>, Option<i32>);

/// Holds back the records of a partition until the first one is acknowledged.
///
/// A broker that has no state of an idempotent producer for a partition accepts any sequence number
/// (`ProducerAppendInfo.checkSequence` in Kafka). If it rejects the first request, because the partition is only being
/// created or because a record is invalid, and accepts the second one, then the first record is overtaken; and after a
/// rejection that librdkafka retries, librdkafka even reports it as delivered, without an offset. Once one record is
/// acknowledged, the broker accepts the next sequence number only.
#[derive(Debug, Default)]
pub(crate) struct FirstRecords {
    /// When the last record was sent to each partition that has acknowledged one.
    open: HashMap<TopicPartition, Instant>,
    /// Records without a delivery report yet that are alone in their partition.
    pending: Vec<(Token, TopicPartition)>,
}

/// Whether a record may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Now,
    /// Now, as the first of its partition.
    First,
    /// After a pending report.
    Later,
}

impl FirstRecords {
    /// Decides about the next record of a partition; `None` as the partition means that it is not known yet.
    pub(crate) fn turn(&mut self, topic: &Arc<str>, partition: Option<i32>, now: Instant) -> Turn {
        let is_pending = |(_, (pending_topic, pending)): &(Token, TopicPartition)| {
            pending_topic == topic && (*pending == partition || pending.is_none() || partition.is_none())
        };
        if self.pending.iter().any(is_pending) {
            return Turn::Later;
        }
        match self.open.get_mut(&(Arc::clone(topic), partition)) {
            Some(last) if now.duration_since(*last) < OPEN_MAX => {
                *last = now;
                Turn::Now
            }
            _ => Turn::First,
        }
    }

    /// The first record of a partition was sent.
    pub(crate) fn sent(&mut self, token: Token, topic: Arc<str>, partition: Option<i32>) {
        self.pending.push((token, (topic, partition)));
    }

    /// Opens the partitions whose first records were acknowledged. A failed record ends the producer, and with it the
    /// turns.
    pub(crate) fn reported(&mut self, reports: &[DeliveryReport]) {
        if self.pending.is_empty() {
            return;
        }
        let now = Instant::now();
        for report in reports {
            if let Ok(at) = report.outcome {
                self.acknowledged(report.token, at.partition, now);
            }
        }
    }

    fn acknowledged(&mut self, token: Token, partition: i32, now: Instant) {
        if let Some(index) = self.pending.iter().position(|(pending, _)| *pending == token) {
            let (_, (topic, _)) = self.pending.swap_remove(index);
            self.open.insert((topic, Some(partition)), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: usize) -> Token {
        Token::from_usize(number)
    }

    #[test]
    fn second_record_of_a_partition_waits_for_the_first_report() {
        let (mut first, now, orders) = (FirstRecords::default(), Instant::now(), Arc::from("orders"));
        assert_eq!(first.turn(&orders, Some(0), now), Turn::First);
        first.sent(token(1), Arc::clone(&orders), Some(0));
        assert_eq!(first.turn(&orders, Some(0), now), Turn::Later);
        assert_eq!(first.turn(&orders, Some(1), now), Turn::First, "other partitions do not wait");
        first.acknowledged(token(7), 0, now);
        assert_eq!(first.turn(&orders, Some(0), now), Turn::Later, "another record's report");
        first.acknowledged(token(1), 0, now);
        assert_eq!(first.turn(&orders, Some(0), now), Turn::Now);
        assert_eq!(first.turn(&Arc::from("payments"), Some(0), now), Turn::First);
    }

    #[test]
    fn every_record_of_a_topic_waits_while_its_partitions_are_unknown() {
        let (mut first, now, orders) = (FirstRecords::default(), Instant::now(), Arc::from("orders"));
        assert_eq!(first.turn(&orders, None, now), Turn::First);
        first.sent(token(1), Arc::clone(&orders), None);
        for partition in [None, Some(0), Some(2)] {
            assert_eq!(first.turn(&orders, partition, now), Turn::Later);
        }
        first.acknowledged(token(1), 2, now);
        assert_eq!(first.turn(&orders, Some(2), now), Turn::Now);
        assert_eq!(first.turn(&orders, Some(0), now), Turn::First);
    }

    #[test]
    fn partition_without_records_for_a_while_has_a_first_record_again() {
        let (mut first, now, orders) = (FirstRecords::default(), Instant::now(), Arc::from("orders"));
        first.sent(token(1), Arc::clone(&orders), Some(0));
        first.acknowledged(token(1), 0, now);
        let later = now + OPEN_MAX - Duration::from_secs(1);
        assert_eq!(first.turn(&orders, Some(0), later), Turn::Now);
        assert_eq!(first.turn(&orders, Some(0), later + OPEN_MAX), Turn::First);
    }
}
