//! The inspector.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outbox::{LogBounds, RecordAtOffset};
use rdkafka::producer::{BaseProducer, Producer as _};
use testbed::Kafka;

use crate::support::{
    DEADLINE, commit, committed_offsets, config, delete_records, inspector, kafka, name, put, put_with, send,
    topic,
};

#[tokio::test]
async fn inspector_returns_log_bounds_and_records() {
    let topic = topic(kafka(), 2);
    let published = put(kafka(), &topic, 1, 10);
    put_with(kafka(), &topic, 1, &[("other", "x")]);
    let inspector = inspector(kafka());
    assert_eq!(inspector.log_bounds(&topic, 0).await, Ok(Some(LogBounds { start: 0, end: 0 })));
    assert_eq!(inspector.log_bounds(&topic, 1).await, Ok(Some(LogBounds { start: 0, end: 11 })));
    assert_eq!(inspector.log_bounds(&topic, 2).await, Ok(None));
    for (offset, published) in (0..).zip(&published) {
        assert_eq!(inspector.record_at(&topic, 1, offset).await, Ok(RecordAtOffset::Row(*published)));
    }
    assert_eq!(inspector.record_at(&topic, 1, 10).await, Ok(RecordAtOffset::Foreign));
    for (partition, offset) in [(1, 11), (1, 500), (1, -1), (0, 0), (2, 0)] {
        assert_eq!(
            inspector.record_at(&topic, partition, offset).await,
            Ok(RecordAtOffset::Absent),
            "{partition} {offset}"
        );
    }
    delete_records(kafka(), &topic, 1, 4).await;
    assert_eq!(inspector.log_bounds(&topic, 1).await, Ok(Some(LogBounds { start: 4, end: 11 })));
    assert_eq!(inspector.record_at(&topic, 1, 3).await, Ok(RecordAtOffset::Absent));
    assert_eq!(inspector.record_at(&topic, 1, 4).await, Ok(RecordAtOffset::Row(published[4])));
}

#[tokio::test]
async fn inspector_does_not_create_a_missing_topic() {
    let inspector = inspector(kafka());
    let missing = name("missing");
    for _ in 0..2 {
        assert_eq!(inspector.log_bounds(&missing, 0).await, Ok(None));
        assert_eq!(inspector.record_at(&missing, 0, 0).await, Ok(RecordAtOffset::Absent));
    }
    assert_eq!(
        committed_offsets(&inspector, "unknown", &[(Arc::from(missing.as_str()), 0)]).await,
        Ok(vec![None])
    );
    assert_eq!(inspector.log_bounds(&missing, 0).await, Ok(None));
}

#[tokio::test]
async fn compacted_record_is_absent_within_the_log() {
    let topic = name("compacted");
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0"),
        ("delete.retention.ms", "0"),
    ];
    kafka().create_topic(&topic, 1, &configs).unwrap();
    let inspector = inspector(kafka());
    let mut published = put(kafka(), &topic, 0, 3);
    assert_eq!(inspector.record_at(&topic, 0, 0).await, Ok(RecordAtOffset::Row(published[0])));
    let deadline = Instant::now() + DEADLINE;
    // All records have one key. A segment is compacted once a record follows after segment.ms.
    while inspector.record_at(&topic, 0, 0).await != Ok(RecordAtOffset::Absent) {
        assert!(Instant::now() < deadline, "not compacted in time");
        tokio::time::sleep(Duration::from_millis(300)).await;
        published.extend(put(kafka(), &topic, 0, 1));
    }
    let end = published.len() as i64;
    assert_eq!(inspector.log_bounds(&topic, 0).await, Ok(Some(LogBounds { start: 0, end })));
    assert_eq!(inspector.record_at(&topic, 0, 1).await, Ok(RecordAtOffset::Absent));
    assert_eq!(
        inspector.record_at(&topic, 0, end - 1).await,
        Ok(RecordAtOffset::Row(published[published.len() - 1]))
    );
}

#[tokio::test]
async fn end_of_a_transaction_is_absent() {
    let topic = topic(kafka(), 1);
    let producer: BaseProducer =
        config(kafka()).set("transactional.id", name("transaction")).create().unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    producer.begin_transaction().unwrap();
    send(&producer, &topic, 0, &[("other", "x")]);
    producer.commit_transaction(DEADLINE).unwrap();
    let inspector = inspector(kafka());
    let deadline = Instant::now() + DEADLINE;
    // The coordinator writes the commit marker after it has answered the producer.
    while inspector.log_bounds(&topic, 0).await != Ok(Some(LogBounds { start: 0, end: 2 })) {
        assert!(Instant::now() < deadline, "no commit marker in time");
    }
    assert_eq!(inspector.record_at(&topic, 0, 0).await, Ok(RecordAtOffset::Foreign));
    assert_eq!(inspector.record_at(&topic, 0, 1).await, Ok(RecordAtOffset::Absent), "the last of the log");
    let published = put(kafka(), &topic, 0, 1);
    assert_eq!(inspector.record_at(&topic, 0, 1).await, Ok(RecordAtOffset::Absent), "before another");
    assert_eq!(inspector.record_at(&topic, 0, 2).await, Ok(RecordAtOffset::Row(published[0])));
}

#[tokio::test]
async fn committed_keeps_the_order_of_the_partitions() {
    let topic = topic(kafka(), 3);
    let (group, other) = (name("group"), name("group"));
    commit(kafka(), &group, &topic, 2, 5);
    commit(kafka(), &group, &topic, 0, 0);
    commit(kafka(), &other, &topic, 1, 9);
    let inspector = inspector(kafka());
    let partitions = [(Arc::clone(&topic), 2), (Arc::clone(&topic), 1), (Arc::clone(&topic), 0)];
    assert_eq!(committed_offsets(&inspector, &group, &partitions).await, Ok(vec![Some(5), None, Some(0)]));
    assert_eq!(committed_offsets(&inspector, &other, &partitions).await, Ok(vec![None, Some(9), None]));
    assert_eq!(committed_offsets(&inspector, &other, &[]).await, Ok(vec![]));
}

#[tokio::test]
async fn inspector_without_a_broker_returns_retryable_errors_and_can_be_dropped() {
    let kafka = Kafka::start().unwrap();
    let topic = topic(&kafka, 1);
    let published = put(&kafka, &topic, 0, 1);
    let inspector = inspector(&kafka);
    assert_eq!(inspector.record_at(&topic, 0, 0).await, Ok(RecordAtOffset::Row(published[0])));
    kafka.kill().unwrap();
    let error = inspector.log_bounds(&topic, 0).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let error = inspector.committed("group", &[(Arc::clone(&topic), 0)]).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    kafka.start_again().unwrap();
    let deadline = Instant::now() + DEADLINE;
    while inspector.record_at(&topic, 0, 0).await != Ok(RecordAtOffset::Row(published[0])) {
        assert!(Instant::now() < deadline, "no recovery in time");
    }
    kafka.kill().unwrap();
    let question = tokio::time::timeout(Duration::from_millis(100), inspector.log_bounds(&topic, 0)).await;
    assert!(question.is_err());
    let dropped = tokio::time::timeout(DEADLINE, tokio::task::spawn_blocking(move || drop(inspector))).await;
    dropped.unwrap().unwrap();
}
