use std::time::Duration;

use testbed::Kafka;

use crate::support::{DEADLINE, TestReceipts, commit, ids, name, put, topic, until_committed};

#[tokio::test]
async fn receipts_survive_a_broker_crash() {
    let kafka = Kafka::start().unwrap();
    let (group, topic) = (name("group"), topic(&kafka, 1));
    let mut receiver = TestReceipts::start(&kafka, &group, &[]);
    let mut published = put(&kafka, &topic, 0, 2000);
    receiver.observe(&topic, 0, 1999);
    let mut receipts = receiver.take(2000).await;
    kafka.kill().unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    kafka.start_again().unwrap();
    published.extend(put(&kafka, &topic, 0, 100));
    receiver.observe(&topic, 0, 2099);
    receipts.extend(receiver.take(100).await);
    assert_eq!(ids(&receipts), published);
    until_committed(&kafka, &group, &topic, 0, 2100).await;
    receiver.receipts.close().await;
}

#[tokio::test]
async fn receipts_start_before_the_broker() {
    let kafka = Kafka::builder().prepare().unwrap();
    let name = std::sync::Arc::<str>::from(name("late"));
    let mut receiver = TestReceipts::start(&kafka, "group", &[]);
    receiver.observe(&name, 0, 2);
    tokio::time::sleep(Duration::from_secs(2)).await;
    kafka.start_again().unwrap();
    kafka.create_topic(&name, 1, &[]).unwrap();
    let published = put(&kafka, &name, 0, 3);
    assert_eq!(ids(&receiver.take(3).await), published);
    receiver.receipts.close().await;
}

#[tokio::test]
async fn close_does_not_wait_for_a_broker() {
    for (pauses, follow) in [(false, None), (true, None), (true, Some("shop"))] {
        let kafka = Kafka::start().unwrap();
        let topic = topic(&kafka, 3);
        let mut receiver = TestReceipts::start(&kafka, "group", follow.as_slice());
        put(&kafka, &topic, 0, 10);
        commit(&kafka, "shop", &topic, 0, 10);
        receiver.observe(&topic, 0, 9);
        // Durable, but not committed yet.
        receiver.take(10).await;
        if pauses {
            kafka.pause().unwrap();
        } else {
            kafka.kill().unwrap();
        }
        receiver.observe(&topic, 1, 9);
        let closed = tokio::time::timeout(DEADLINE, receiver.receipts.close()).await;
        assert!(closed.is_ok(), "paused: {pauses}");
        if pauses {
            kafka.resume().unwrap();
        }
    }
}

#[tokio::test]
async fn drop_ends_the_worker() {
    let kafka = crate::support::kafka();
    let TestReceipts { receipts, mut chunks, .. } = TestReceipts::start(kafka, &name("group"), &[]);
    drop(receipts);
    assert!(crate::support::within(chunks.recv()).await.is_none());
}
