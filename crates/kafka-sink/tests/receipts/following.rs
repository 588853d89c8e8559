//! Followed groups.

use std::sync::Arc;

use crate::support::{TestReceipts, commit, ids, kafka, name, put, topic, until_committed};

#[tokio::test]
async fn receipts_follow_the_slowest_group() {
    let (own, shop, billing) = (name("group"), name("shop"), name("billing"));
    let topic = topic(kafka(), 1);
    let published = put(kafka(), &topic, 0, 1000);
    let mut receiver = TestReceipts::start(kafka(), &own, &[&shop, &billing]);
    receiver.observe(&topic, 0, 999);
    // Neither group exists.
    receiver.receives_nothing().await;
    commit(kafka(), &shop, &topic, 0, 700);
    receiver.receives_nothing().await;
    commit(kafka(), &billing, &topic, 0, 10);
    assert_eq!(ids(&receiver.take(10).await), published[..10]);
    receiver.receives_nothing().await;
    commit(kafka(), &billing, &topic, 0, 900);
    assert_eq!(ids(&receiver.take(690).await), published[10..700]);
    receiver.receives_nothing().await;
    until_committed(kafka(), &own, &topic, 0, 700).await;
    receiver.receipts.close().await;

    // A restart resumes there.
    let mut receiver = TestReceipts::start(kafka(), &own, &[&shop, &billing]);
    receiver.observe(&topic, 0, 999);
    receiver.receives_nothing().await;
    commit(kafka(), &shop, &topic, 0, 1000);
    assert_eq!(ids(&receiver.take(200).await), published[700..900]);
    commit(kafka(), &billing, &topic, 0, 1000);
    assert_eq!(ids(&receiver.take(100).await), published[900..]);
    receiver.receipts.close().await;
}

#[tokio::test]
async fn each_partition_follows_its_own_committed_offset() {
    let (own, shop) = (name("group"), name("shop"));
    let topics = [topic(kafka(), 2), topic(kafka(), 2)];
    let mut receiver = TestReceipts::start(kafka(), &own, &[&shop]);
    let mut published = Vec::new();
    for (topic, partition) in topics.iter().flat_map(|topic| [(topic, 0), (topic, 1)]) {
        published.push((Arc::clone(topic), partition, put(kafka(), topic, partition, 60)));
        receiver.observe(topic, partition, 59);
    }
    for step in 1..=6_usize {
        // The group's consumer of one partition is stuck.
        for (topic, partition, _) in &published[1..] {
            commit(kafka(), &shop, topic, *partition, 10 * step as i64);
        }
        let receipts = receiver.take(30).await;
        for (topic, partition, ids_of_it) in &published[1..] {
            let of_it: Vec<_> = receipts
                .iter()
                .filter(|receipt| receipt.at.topic == *topic && receipt.at.partition == *partition)
                .cloned()
                .collect();
            assert_eq!(ids(&of_it), ids_of_it[10 * (step - 1)..10 * step]);
        }
    }
    receiver.receives_nothing().await;
    receiver.receipts.close().await;
}
