use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_sink::{Bounds, RecordAt};
use rdkafka::producer::{BaseProducer, Producer as _};
use testbed::Kafka;

use crate::support::{
    DEADLINE, commit, config, delete_records, kafka, looks, name, put, put_with, send, told, topic,
};

#[tokio::test]
async fn what_a_partition_holds_is_told_and_what_is_not_there_is_none() {
    let topic = topic(kafka(), 2);
    let published = put(kafka(), &topic, 1, 10);
    put_with(kafka(), &topic, 1, &[("other", "x")]);
    let looks = looks(kafka());
    assert_eq!(looks.partition(&topic, 0).await, Ok(Some(Bounds { start: 0, end: 0 })));
    assert_eq!(looks.partition(&topic, 1).await, Ok(Some(Bounds { start: 0, end: 11 })));
    assert_eq!(looks.partition(&topic, 2).await, Ok(None));
    for (offset, published) in (0..).zip(&published) {
        assert_eq!(looks.record_at(&topic, 1, offset).await, Ok(RecordAt::Row(*published)));
    }
    assert_eq!(looks.record_at(&topic, 1, 10).await, Ok(RecordAt::Foreign));
    for (partition, offset) in [(1, 11), (1, 500), (1, -1), (0, 0), (2, 0)] {
        assert_eq!(
            looks.record_at(&topic, partition, offset).await,
            Ok(RecordAt::Absent),
            "{partition} {offset}"
        );
    }
    delete_records(kafka(), &topic, 1, 4).await;
    assert_eq!(looks.partition(&topic, 1).await, Ok(Some(Bounds { start: 4, end: 11 })));
    assert_eq!(looks.record_at(&topic, 1, 3).await, Ok(RecordAt::Absent));
    assert_eq!(looks.record_at(&topic, 1, 4).await, Ok(RecordAt::Row(published[4])));
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_none_and_does_not_come_from_asking() {
    let looks = looks(kafka());
    let missing = name("missing");
    for _ in 0..2 {
        assert_eq!(looks.partition(&missing, 0).await, Ok(None));
        assert_eq!(looks.record_at(&missing, 0, 0).await, Ok(RecordAt::Absent));
    }
    assert_eq!(told(&looks, "nobody", &[(Arc::from(missing.as_str()), 0)]).await, Ok(vec![None]));
    assert_eq!(looks.partition(&missing, 0).await, Ok(None));
}

#[tokio::test]
async fn what_compaction_took_is_absent_while_the_log_reaches_there() {
    let topic = name("compacted");
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0"),
        ("delete.retention.ms", "0"),
    ];
    kafka().create_topic(&topic, 1, &configs).unwrap();
    let looks = looks(kafka());
    let mut published = put(kafka(), &topic, 0, 3);
    assert_eq!(looks.record_at(&topic, 0, 0).await, Ok(RecordAt::Row(published[0])));
    let deadline = Instant::now() + DEADLINE;
    // All of one key. A segment can be compacted once another record has come after its time.
    while looks.record_at(&topic, 0, 0).await != Ok(RecordAt::Absent) {
        assert!(Instant::now() < deadline, "it is not compacted");
        tokio::time::sleep(Duration::from_millis(300)).await;
        published.extend(put(kafka(), &topic, 0, 1));
    }
    let end = published.len() as i64;
    assert_eq!(looks.partition(&topic, 0).await, Ok(Some(Bounds { start: 0, end })));
    assert_eq!(looks.record_at(&topic, 0, 1).await, Ok(RecordAt::Absent));
    assert_eq!(looks.record_at(&topic, 0, end - 1).await, Ok(RecordAt::Row(published[published.len() - 1])));
}

#[tokio::test]
async fn the_end_of_a_transaction_is_no_record() {
    let topic = topic(kafka(), 1);
    let producer: BaseProducer =
        config(kafka()).set("transactional.id", name("transaction")).create().unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    producer.begin_transaction().unwrap();
    send(&producer, &topic, 0, &[("other", "x")]);
    producer.commit_transaction(DEADLINE).unwrap();
    let looks = looks(kafka());
    assert_eq!(looks.partition(&topic, 0).await, Ok(Some(Bounds { start: 0, end: 2 })));
    assert_eq!(looks.record_at(&topic, 0, 0).await, Ok(RecordAt::Foreign));
    assert_eq!(looks.record_at(&topic, 0, 1).await, Ok(RecordAt::Absent), "the last of the log");
    let published = put(kafka(), &topic, 0, 1);
    assert_eq!(looks.record_at(&topic, 0, 1).await, Ok(RecordAt::Absent), "before another");
    assert_eq!(looks.record_at(&topic, 0, 2).await, Ok(RecordAt::Row(published[0])));
}

#[tokio::test]
async fn groups_are_told_in_the_order_asked() {
    let topic = topic(kafka(), 3);
    let (group, other) = (name("group"), name("group"));
    commit(kafka(), &group, &topic, 2, 5);
    commit(kafka(), &group, &topic, 0, 0);
    commit(kafka(), &other, &topic, 1, 9);
    let looks = looks(kafka());
    let asked = [(Arc::clone(&topic), 2), (Arc::clone(&topic), 1), (Arc::clone(&topic), 0)];
    assert_eq!(told(&looks, &group, &asked).await, Ok(vec![Some(5), None, Some(0)]));
    assert_eq!(told(&looks, &other, &asked).await, Ok(vec![None, Some(9), None]));
    assert_eq!(told(&looks, &other, &[]).await, Ok(vec![]));
}

#[tokio::test]
async fn a_broker_that_is_away_tells_nothing_and_lets_go_at_once() {
    let kafka = Kafka::start().unwrap();
    let topic = topic(&kafka, 1);
    let published = put(&kafka, &topic, 0, 1);
    let looks = looks(&kafka);
    assert_eq!(looks.record_at(&topic, 0, 0).await, Ok(RecordAt::Row(published[0])));
    kafka.kill().unwrap();
    let error = looks.partition(&topic, 0).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let error = looks.committed("group", &[(Arc::clone(&topic), 0)]).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    kafka.start_again().unwrap();
    let deadline = Instant::now() + DEADLINE;
    while looks.record_at(&topic, 0, 0).await != Ok(RecordAt::Row(published[0])) {
        assert!(Instant::now() < deadline, "it does not come back");
    }
    kafka.kill().unwrap();
    let asking = tokio::time::timeout(Duration::from_millis(100), looks.partition(&topic, 0)).await;
    assert!(asking.is_err());
    let start = Instant::now();
    drop(looks);
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
}
