use kafka_sink::RecordAt;
use testbed::Kafka;

use crate::support::{
    Life, commit, delete_topic, ids, kafka, looks, name, offsets, put, topic, until_committed,
};

#[tokio::test]
async fn a_topic_made_anew_is_read_from_its_beginning() {
    let (group, topic) = (name("group"), topic(kafka(), 1));
    let mut life = Life::start(kafka(), &group, &[]);
    put(kafka(), &topic, 0, 20);
    life.observe(&topic, 0, 19);
    life.take(20).await;
    until_committed(kafka(), &group, &topic, 0, 20).await;
    delete_topic(kafka(), &topic).await;
    life.rests().await;
    kafka().create_topic(&topic, 1, &[]).unwrap();
    let published = put(kafka(), &topic, 0, 5);
    for offset in 0..5 {
        life.observe(&topic, 0, offset);
    }
    let receipts = life.take(5).await;
    assert_eq!(ids(&receipts), published);
    assert_eq!(offsets(&receipts), [0, 1, 2, 3, 4]);
    until_committed(kafka(), &group, &topic, 0, 5).await;
    life.receipts.close().await;
}

#[tokio::test]
async fn one_that_grew_past_the_old_position_while_nobody_looked_is_read_too() {
    let (group, topic) = (name("group"), topic(kafka(), 1));
    let mut life = Life::start(kafka(), &group, &[]);
    put(kafka(), &topic, 0, 5);
    life.observe(&topic, 0, 4);
    life.take(5).await;
    delete_topic(kafka(), &topic).await;
    kafka().create_topic(&topic, 1, &[]).unwrap();
    let published = put(kafka(), &topic, 0, 50);
    for offset in 0..50 {
        life.observe(&topic, 0, offset);
    }
    // Where the consumer noticed as well, some come twice.
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < published.len() {
        seen.extend(ids(&life.take_some().await));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), published);
    life.receipts.close().await;
}

/// A topic's leader epoch grows with each restart of its broker and starts anew with the topic.
#[tokio::test]
async fn one_whose_leader_epoch_started_anew_is_read_and_looked_at() {
    let kafka = Kafka::start().unwrap();
    let (group, topic) = (name("group"), topic(&kafka, 1));
    let mut life = Life::start(&kafka, &group, &[]);
    let looks = looks(&kafka);
    put(&kafka, &topic, 0, 20);
    life.observe(&topic, 0, 19);
    life.take(20).await;
    for _ in 0..2 {
        kafka.restart().unwrap();
    }
    let more = put(&kafka, &topic, 0, 1);
    life.observe(&topic, 0, 20);
    life.take(1).await;
    while looks.record_at(&topic, 0, 20).await != Ok(RecordAt::Row(more[0])) {}
    delete_topic(&kafka, &topic).await;
    kafka.create_topic(&topic, 1, &[]).unwrap();
    let published = put(&kafka, &topic, 0, 3);
    for offset in 0..3 {
        life.observe(&topic, 0, offset);
    }
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 3 {
        seen.extend(ids(&life.take_some().await));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), published);
    let start = std::time::Instant::now();
    while looks.record_at(&topic, 0, 1).await != Ok(RecordAt::Row(published[1])) {
        assert!(start.elapsed() < crate::support::DEADLINE);
    }
    println!("looked at after {:?}", start.elapsed());
    life.receipts.close().await;
}

#[tokio::test]
async fn behind_followed_groups_a_topic_made_anew_is_read_as_they_commit_anew() {
    let (own, shop) = (name("group"), name("shop"));
    let topic = topic(kafka(), 1);
    let mut life = Life::start(kafka(), &own, &[&shop]);
    put(kafka(), &topic, 0, 20);
    life.observe(&topic, 0, 19);
    commit(kafka(), &shop, &topic, 0, 20);
    life.take(20).await;
    delete_topic(kafka(), &topic).await;
    kafka().create_topic(&topic, 1, &[]).unwrap();
    commit(kafka(), &shop, &topic, 0, 0);
    let published = put(kafka(), &topic, 0, 5);
    for offset in 0..5 {
        life.observe(&topic, 0, offset);
    }
    commit(kafka(), &shop, &topic, 0, 3);
    assert_eq!(ids(&life.take(3).await), published[..3]);
    life.rests().await;
    life.receipts.close().await;
}
