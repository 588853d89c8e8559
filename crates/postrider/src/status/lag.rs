//! How far consumer groups are behind.

use std::sync::Arc;

use kafka_sink::{InspectError, KafkaInspector};
use outbox::LogBounds;

use super::report::{GroupLag, PartitionLag};
use crate::config::Receipts;

/// A topic's partition.
type TopicPartition = (Arc<str>, i32);

/// Asks for our own group and each that is followed, in these partitions.
///
/// # Errors
///
/// Kafka cannot be asked, or does not tell.
pub(crate) async fn ask(
    kafka: &KafkaInspector,
    receipts: &Receipts,
    partitions: Vec<TopicPartition>,
) -> Result<Vec<GroupLag>, InspectError> {
    let mut there = Vec::with_capacity(partitions.len());
    let mut logs = Vec::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        // What is gone holds nothing that anybody could be behind of.
        if let Some(bounds) = kafka.log_bounds(&topic, partition).await? {
            there.push((topic, partition));
            logs.push(bounds);
        }
    }
    let mut lags = Vec::with_capacity(1 + receipts.follow.len());
    for group in std::iter::once(&receipts.group).chain(&receipts.follow) {
        let committed = kafka.committed(group, &there).await?;
        lags.push(of_group(group, *group == receipts.group, &there, &logs, &committed));
    }
    Ok(lags)
}

/// The lists are in the same order.
fn of_group(
    group: &str,
    own: bool,
    partitions: &[TopicPartition],
    logs: &[LogBounds],
    committed: &[Option<i64>],
) -> GroupLag {
    let behind = logs.iter().zip(committed).map(|(log, committed)| behind(*log, *committed));
    let each = || partitions.iter().zip(behind.clone());
    // Of equals the first, so that the answer stays the same.
    let worst = each().filter(|(_, records)| *records > 0).reduce(|a, b| if b.1 > a.1 { b } else { a });
    GroupLag {
        group: group.to_owned(),
        own,
        records: behind.clone().sum(),
        worst: worst.map(|((topic, partition), records)| PartitionLag {
            topic: topic.to_string(),
            partition: *partition,
            records,
        }),
    }
}

/// Records from what was committed to the log's end. What was never committed, or was deleted meanwhile, leaves the
/// whole log; a commit beyond the end is one of a topic that was made anew.
fn behind(log: LogBounds, committed: Option<i64>) -> u64 {
    let from = committed.unwrap_or(log.start).max(log.start);
    u64::try_from(log.end.saturating_sub(from)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_behind_counts_from_the_commit_or_the_logs_start() {
        let log = LogBounds { start: 10, end: 30 };
        for (committed, expected) in
            [(None, 20), (Some(0), 20), (Some(10), 20), (Some(25), 5), (Some(30), 0), (Some(99), 0)]
        {
            assert_eq!(behind(log, committed), expected, "{committed:?}");
        }
    }

    #[test]
    fn a_group_is_behind_by_the_sum_and_worst_in_one() {
        let partitions = ["a", "a", "b"].into_iter().map(Arc::from).zip([0, 1, 0]).collect::<Vec<_>>();
        let logs = [LogBounds { start: 0, end: 10 }; 3];
        let lag = of_group("billing", false, &partitions, &logs, &[Some(10), Some(3), Some(3)]);
        assert_eq!(lag.records, 14);
        let worst = PartitionLag { topic: "a".to_owned(), partition: 1, records: 7 };
        assert_eq!(lag.worst, Some(worst));
        assert_eq!(of_group("billing", false, &partitions, &logs, &[Some(10); 3]).worst, None);
        assert_eq!(of_group("billing", true, &[], &[], &[]).records, 0);
    }

    proptest! {
        #[test]
        fn nobody_is_behind_by_more_than_there_is(
            start in 0i64..100, length in 0i64..100, committed in proptest::option::of(-5i64..300),
        ) {
            let log = LogBounds { start, end: start + length };
            prop_assert!(behind(log, committed) <= length.unsigned_abs());
        }
    }
}
