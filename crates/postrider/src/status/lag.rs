//! Consumer lag of Postrider's own group and of the followed groups.

use std::sync::Arc;

use kafka_sink::{InspectError, KafkaInspector};
use outbox::LogBounds;

use super::report::{GroupLag, PartitionLag};
use crate::config::ReceiptsConfig;

/// A topic's partition.
type TopicPartition = (Arc<str>, i32);

/// Reads the lag of every group in these partitions.
///
/// # Errors
///
/// Kafka does not answer, or rejects a request.
pub(crate) async fn read_lags(
    kafka: &KafkaInspector,
    receipts: &ReceiptsConfig,
    partitions: Vec<TopicPartition>,
) -> Result<Vec<GroupLag>, InspectError> {
    let mut there = Vec::with_capacity(partitions.len());
    let mut logs = Vec::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        // A deleted topic or partition has no lag.
        if let Some(bounds) = kafka.log_bounds(&topic, partition).await? {
            there.push((topic, partition));
            logs.push(bounds);
        }
    }
    let mut lags = Vec::with_capacity(1 + receipts.follow.len());
    for group in std::iter::once(&receipts.group).chain(&receipts.follow) {
        let committed = kafka.committed(group, &there).await?;
        lags.push(group_lag(group, *group == receipts.group, &there, &logs, &committed));
    }
    Ok(lags)
}

/// All lists are in the order of the partitions.
fn group_lag(
    group: &str,
    own: bool,
    partitions: &[TopicPartition],
    logs: &[LogBounds],
    committed: &[Option<i64>],
) -> GroupLag {
    let lags = logs.iter().zip(committed).map(|(log, committed)| lag(*log, *committed));
    let each = || partitions.iter().zip(lags.clone());
    // The first of equals, so that the result is stable.
    let worst = each().filter(|(_, records)| *records > 0).reduce(|a, b| if b.1 > a.1 { b } else { a });
    GroupLag {
        group: group.to_owned(),
        own,
        records: lags.clone().sum(),
        worst: worst.map(|((topic, partition), records)| PartitionLag {
            topic: topic.to_string(),
            partition: *partition,
            records,
        }),
    }
}

/// Records between the committed offset and the log end. Without a commit, or with one before the log start, the whole
/// log counts; a commit beyond the end belongs to a topic that was since deleted and recreated, and counts as no lag.
fn lag(log: LogBounds, committed: Option<i64>) -> u64 {
    let from = committed.unwrap_or(log.start).max(log.start);
    u64::try_from(log.end.saturating_sub(from)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lag_counts_from_committed_offset_or_log_start() {
        let log = LogBounds { start: 10, end: 30 };
        for (committed, expected) in
            [(None, 20), (Some(0), 20), (Some(10), 20), (Some(25), 5), (Some(30), 0), (Some(99), 0)]
        {
            assert_eq!(lag(log, committed), expected, "{committed:?}");
        }
    }

    #[test]
    fn group_lag_is_the_sum_and_names_the_worst_partition() {
        let partitions = ["a", "a", "b"].into_iter().map(Arc::from).zip([0, 1, 0]).collect::<Vec<_>>();
        let logs = [LogBounds { start: 0, end: 10 }; 3];
        let billing = group_lag("billing", false, &partitions, &logs, &[Some(10), Some(3), Some(3)]);
        assert_eq!(billing.records, 14);
        let worst = PartitionLag { topic: "a".to_owned(), partition: 1, records: 7 };
        assert_eq!(billing.worst, Some(worst));
        assert_eq!(group_lag("billing", false, &partitions, &logs, &[Some(10); 3]).worst, None);
        assert_eq!(group_lag("billing", true, &[], &[], &[]).records, 0);
    }

    proptest! {
        #[test]
        fn lag_never_exceeds_the_log(
            start in 0i64..100, length in 0i64..100, committed in proptest::option::of(-5i64..300),
        ) {
            let log = LogBounds { start, end: start + length };
            prop_assert!(lag(log, committed) <= length.unsigned_abs());
        }
    }
}
