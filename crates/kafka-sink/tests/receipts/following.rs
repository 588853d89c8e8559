use std::sync::Arc;

use crate::support::{Life, commit, ids, kafka, name, put, topic, until_committed};

#[tokio::test]
async fn it_reads_as_far_as_the_slowest_group_and_further_as_that_commits() {
    let (own, shop, billing) = (name("group"), name("shop"), name("billing"));
    let topic = topic(kafka(), 1);
    let published = put(kafka(), &topic, 0, 1000);
    let mut life = Life::start(kafka(), &own, &[&shop, &billing]);
    life.observe(&topic, 0, 999);
    // Neither exists.
    life.rests().await;
    commit(kafka(), &shop, &topic, 0, 700);
    life.rests().await;
    commit(kafka(), &billing, &topic, 0, 10);
    assert_eq!(ids(&life.take(10).await), published[..10]);
    life.rests().await;
    commit(kafka(), &billing, &topic, 0, 900);
    assert_eq!(ids(&life.take(690).await), published[10..700]);
    life.rests().await;
    until_committed(kafka(), &own, &topic, 0, 700).await;
    life.receipts.close().await;

    // Another life goes on there.
    let mut life = Life::start(kafka(), &own, &[&shop, &billing]);
    life.observe(&topic, 0, 999);
    life.rests().await;
    commit(kafka(), &shop, &topic, 0, 1000);
    assert_eq!(ids(&life.take(200).await), published[700..900]);
    commit(kafka(), &billing, &topic, 0, 1000);
    assert_eq!(ids(&life.take(100).await), published[900..]);
    life.receipts.close().await;
}

#[tokio::test]
async fn each_partition_has_its_own_reach_over_many_steps() {
    let (own, shop) = (name("group"), name("shop"));
    let topics = [topic(kafka(), 2), topic(kafka(), 2)];
    let mut life = Life::start(kafka(), &own, &[&shop]);
    let mut published = Vec::new();
    for (topic, partition) in topics.iter().flat_map(|topic| [(topic, 0), (topic, 1)]) {
        published.push((Arc::clone(topic), partition, put(kafka(), topic, partition, 60)));
        life.observe(topic, partition, 59);
    }
    for step in 1..=6_usize {
        // One partition's consumer is stuck.
        for (topic, partition, _) in &published[1..] {
            commit(kafka(), &shop, topic, *partition, 10 * step as i64);
        }
        let receipts = life.take(30).await;
        for (topic, partition, ids_of_it) in &published[1..] {
            let of_it: Vec<_> = receipts
                .iter()
                .filter(|receipt| receipt.at.topic == *topic && receipt.at.partition == *partition)
                .cloned()
                .collect();
            assert_eq!(ids(&of_it), ids_of_it[10 * (step - 1)..10 * step]);
        }
    }
    life.rests().await;
    life.receipts.close().await;
}
