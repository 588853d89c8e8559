use std::time::{Duration, Instant};

use testbed::Kafka;

use crate::support::{Life, commit, ids, name, put, topic, until_committed};

#[tokio::test]
async fn a_broker_killed_and_back_costs_no_receipt() {
    let kafka = Kafka::start().unwrap();
    let (group, topic) = (name("group"), topic(&kafka, 1));
    let mut life = Life::start(&kafka, &group, &[]);
    let mut published = put(&kafka, &topic, 0, 2000);
    life.observe(&topic, 0, 1999);
    let mut receipts = life.take(2000).await;
    kafka.kill().unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    kafka.start_again().unwrap();
    published.extend(put(&kafka, &topic, 0, 100));
    life.observe(&topic, 0, 2099);
    receipts.extend(life.take(100).await);
    assert_eq!(ids(&receipts), published);
    until_committed(&kafka, &group, &topic, 0, 2100).await;
    life.receipts.close().await;
}

#[tokio::test]
async fn a_broker_that_comes_later_is_waited_for() {
    let kafka = Kafka::builder().prepare().unwrap();
    let name = std::sync::Arc::<str>::from(name("late"));
    let mut life = Life::start(&kafka, "group", &[]);
    life.observe(&name, 0, 2);
    tokio::time::sleep(Duration::from_secs(2)).await;
    kafka.start_again().unwrap();
    kafka.create_topic(&name, 1, &[]).unwrap();
    let published = put(&kafka, &name, 0, 3);
    assert_eq!(ids(&life.take(3).await), published);
    life.receipts.close().await;
}

#[tokio::test]
async fn closing_with_the_broker_away_takes_a_second_at_most() {
    for (pauses, follow) in [(false, None), (true, None), (true, Some("shop"))] {
        let kafka = Kafka::start().unwrap();
        let topic = topic(&kafka, 3);
        let mut life = Life::start(&kafka, "group", follow.as_slice());
        put(&kafka, &topic, 0, 10);
        commit(&kafka, "shop", &topic, 0, 10);
        life.observe(&topic, 0, 9);
        // Durable, but not committed yet.
        life.take(10).await;
        if pauses {
            kafka.pause().unwrap();
        } else {
            kafka.kill().unwrap();
        }
        life.observe(&topic, 1, 9);
        let start = Instant::now();
        life.receipts.close().await;
        let took = start.elapsed();
        println!("closed within {took:?} (paused: {pauses})");
        assert!(took < Duration::from_millis(1500), "{took:?}");
        if pauses {
            kafka.resume().unwrap();
        }
    }
}

#[tokio::test]
async fn dropped_without_a_word_the_worker_ends() {
    let kafka = crate::support::kafka();
    let Life { receipts, mut chunks } = Life::start(kafka, &name("group"), &[]);
    drop(receipts);
    assert!(crate::support::within(chunks.recv()).await.is_none());
}
