use outbox::RecordAtOffset;
use testbed::Kafka;

use crate::support::{
    TestReceipts, commit, delete_topic, ids, inspector, kafka, name, offsets, put, topic, until_committed,
};

#[tokio::test]
async fn recreated_topic_is_read_from_its_beginning() {
    let (group, topic) = (name("group"), topic(kafka(), 1));
    let mut receiver = TestReceipts::start(kafka(), &group, &[]);
    put(kafka(), &topic, 0, 20);
    receiver.observe(&topic, 0, 19);
    receiver.take(20).await;
    until_committed(kafka(), &group, &topic, 0, 20).await;
    delete_topic(kafka(), &topic).await;
    receiver.receives_nothing().await;
    kafka().create_topic(&topic, 1, &[]).unwrap();
    let published = put(kafka(), &topic, 0, 5);
    for offset in 0..5 {
        receiver.observe(&topic, 0, offset);
    }
    let receipts = receiver.take(5).await;
    assert_eq!(ids(&receipts), published);
    assert_eq!(offsets(&receipts), [0, 1, 2, 3, 4]);
    until_committed(kafka(), &group, &topic, 0, 5).await;
    receiver.receipts.close().await;
}

#[tokio::test]
async fn recreated_topic_longer_than_the_old_position_is_read() {
    let (group, topic) = (name("group"), topic(kafka(), 1));
    let mut receiver = TestReceipts::start(kafka(), &group, &[]);
    put(kafka(), &topic, 0, 5);
    receiver.observe(&topic, 0, 4);
    receiver.take(5).await;
    delete_topic(kafka(), &topic).await;
    kafka().create_topic(&topic, 1, &[]).unwrap();
    let published = put(kafka(), &topic, 0, 50);
    for offset in 0..50 {
        receiver.observe(&topic, 0, offset);
    }
    // If the consumer also noticed, some records arrive twice.
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < published.len() {
        seen.extend(ids(&receiver.take_some().await));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), published);
    receiver.receipts.close().await;
}

/// A topic's leader epoch increases with each restart of its broker, and restarts with a recreated topic.
#[tokio::test]
async fn recreated_topic_with_a_lower_leader_epoch_is_read_and_inspected() {
    let kafka = Kafka::start().unwrap();
    let (group, topic) = (name("group"), topic(&kafka, 1));
    let mut receiver = TestReceipts::start(&kafka, &group, &[]);
    let inspector = inspector(&kafka);
    put(&kafka, &topic, 0, 20);
    receiver.observe(&topic, 0, 19);
    receiver.take(20).await;
    for _ in 0..2 {
        kafka.restart().unwrap();
    }
    let more = put(&kafka, &topic, 0, 1);
    receiver.observe(&topic, 0, 20);
    receiver.take(1).await;
    while inspector.record_at(&topic, 0, 20).await != Ok(RecordAtOffset::Row(more[0])) {}
    delete_topic(&kafka, &topic).await;
    kafka.create_topic(&topic, 1, &[]).unwrap();
    let published = put(&kafka, &topic, 0, 3);
    for offset in 0..3 {
        receiver.observe(&topic, 0, offset);
    }
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 3 {
        seen.extend(ids(&receiver.take_some().await));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), published);
    let start = std::time::Instant::now();
    while inspector.record_at(&topic, 0, 1).await != Ok(RecordAtOffset::Row(published[1])) {
        assert!(start.elapsed() < crate::support::DEADLINE);
    }
    println!("looked at after {:?}", start.elapsed());
    receiver.receipts.close().await;
}

#[tokio::test]
async fn recreated_topic_follows_the_groups_again() {
    let (own, shop) = (name("group"), name("shop"));
    let topic = topic(kafka(), 1);
    let mut receiver = TestReceipts::start(kafka(), &own, &[&shop]);
    put(kafka(), &topic, 0, 20);
    receiver.observe(&topic, 0, 19);
    commit(kafka(), &shop, &topic, 0, 20);
    receiver.take(20).await;
    delete_topic(kafka(), &topic).await;
    kafka().create_topic(&topic, 1, &[]).unwrap();
    commit(kafka(), &shop, &topic, 0, 0);
    let published = put(kafka(), &topic, 0, 5);
    for offset in 0..5 {
        receiver.observe(&topic, 0, offset);
    }
    commit(kafka(), &shop, &topic, 0, 3);
    assert_eq!(ids(&receiver.take(3).await), published[..3]);
    receiver.receives_nothing().await;
    receiver.receipts.close().await;
}
