use std::sync::Arc;
use std::time::Duration;

use kafka_sink::{ChunkOutcome, ReceiptCounts};
use uuid::Uuid;

use crate::support::{Life, committed, ids, kafka, name, offsets, put, put_with, topic, until_committed};

#[tokio::test]
async fn receipts_come_in_the_order_of_each_partition_with_their_places() {
    let topic = topic(kafka(), 2);
    let published = [put(kafka(), &topic, 0, 1200), put(kafka(), &topic, 1, 30)];
    let mut life = Life::start(kafka(), &name("group"), &[]);
    life.observe(&topic, 0, 1199);
    life.observe(&topic, 1, 29);
    let receipts = life.take(1230).await;
    for (partition, published) in (0..).zip(&published) {
        let of_it: Vec<_> = receipts.iter().filter(|r| r.at.partition == partition).cloned().collect();
        assert_eq!(&ids(&of_it), published);
        assert_eq!(offsets(&of_it), (0..published.len() as i64).collect::<Vec<_>>());
        assert!(of_it.iter().all(|receipt| receipt.at.topic == topic && !receipt.by_request));
    }
    life.receipts.close().await;
}

#[tokio::test]
async fn a_restart_goes_on_at_what_was_durable_and_repeats_what_was_not() {
    let (group, topic) = (name("group"), topic(kafka(), 1));
    let first = put(kafka(), &topic, 0, 600);
    let mut life = Life::start(kafka(), &group, &[]);
    life.observe(&topic, 0, 599);
    let mut held = Vec::new();
    let mut count = 0;
    while count < 600 {
        let chunk = life.chunk().await;
        count += chunk.receipts.len();
        held.push(chunk);
    }
    // All but the first are durable: none of them may be committed.
    let oldest = held.remove(0);
    let start = oldest.receipts.len();
    for chunk in held {
        chunk.done.send(ChunkOutcome::default()).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    life.receipts.close().await;
    drop(oldest);
    assert_eq!(committed(kafka(), &group, &topic, 0).await, None);

    let mut life = Life::start(kafka(), &group, &[]);
    life.observe(&topic, 0, 599);
    let chunk = life.chunk().await;
    assert_eq!(ids(&chunk.receipts), first[..chunk.receipts.len()]);
    let durable = chunk.receipts.len();
    assert!(durable <= 500 && start <= 500);
    chunk.done.send(ChunkOutcome { completed: 1, idle: 2 }).unwrap();
    // A write-back that ends drops the others, and so ends the worker, which commits all the same.
    drop(life.chunk().await);
    while !life.receipts.has_ended() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let counts = life.receipts.counts();
    assert_eq!(counts, ReceiptCounts { completed: 1, idle: 2, without_id: 0 });
    life.receipts.close().await;
    assert_eq!(committed(kafka(), &group, &topic, 0).await, Some(durable as i64));

    let second = put(kafka(), &topic, 0, 10);
    let mut life = Life::start(kafka(), &group, &[]);
    life.observe(&topic, 0, 609);
    let receipts = life.take(610 - durable).await;
    assert_eq!(ids(&receipts), [&first[durable..], &second[..]].concat());
    life.receipts.close().await;
    assert_eq!(committed(kafka(), &group, &topic, 0).await, Some(610));
}

#[tokio::test]
async fn a_topic_that_comes_while_running_is_read_from_its_beginning() {
    let mut life = Life::start(kafka(), &name("group"), &[]);
    let first = topic(kafka(), 1);
    let published = put(kafka(), &first, 0, 5);
    life.observe(&first, 0, 4);
    assert_eq!(ids(&life.take(5).await), published);
    let second = topic(kafka(), 3);
    let published = put(kafka(), &second, 2, 7);
    life.observe(&second, 2, 6);
    assert_eq!(ids(&life.take(7).await), published);
    let published = put(kafka(), &first, 0, 1);
    life.observe(&first, 0, 5);
    assert_eq!(ids(&life.take(1).await), published);
    life.receipts.close().await;
}

#[tokio::test]
async fn what_is_of_no_row_is_counted_and_passed_over() {
    let (group, topic) = (name("group"), topic(kafka(), 1));
    let (row, request) = (Uuid::from_u128(7).to_string(), Uuid::from_u128(8).to_string());
    for headers in [
        vec![],
        vec![("id", "17")],
        vec![("id", row.as_str()), ("postrider-error", "too large")],
        vec![("id", &row), ("postrider-replay", "reconciler")],
        vec![("id", &row), ("postrider-replay", &request)],
        vec![("other", "x")],
    ] {
        put_with(kafka(), &topic, 0, &headers);
    }
    let mut life = Life::start(kafka(), &group, &[]);
    life.observe(&topic, 0, 5);
    let receipts = life.take(2).await;
    assert_eq!(offsets(&receipts), [3, 4]);
    assert_eq!(receipts.iter().map(|r| r.by_request).collect::<Vec<_>>(), [false, true]);
    // The last one has no receipt, and is committed with the others.
    until_committed(kafka(), &group, &topic, 0, 6).await;
    assert_eq!(life.receipts.counts(), ReceiptCounts { completed: 2, idle: 0, without_id: 4 });
    life.receipts.close().await;
}

#[tokio::test]
async fn a_write_back_that_takes_nothing_is_waited_for_with_little_in_hand() {
    let (group, topic) = (name("group"), topic(kafka(), 1));
    let published = put(kafka(), &topic, 0, 20_000);
    let mut life = Life::start(kafka(), &group, &[]);
    life.observe(&topic, 0, 19_999);
    let mut held = Vec::new();
    while let Ok(chunk) = tokio::time::timeout(Duration::from_secs(3), life.chunks.recv()).await {
        held.push(chunk.unwrap());
    }
    assert!(held.len() <= 8, "{}", held.len());
    let mut receipts = Vec::new();
    for chunk in held {
        receipts.extend(chunk.receipts);
        chunk.done.send(ChunkOutcome::default()).unwrap();
    }
    let left = 20_000 - receipts.len();
    receipts.extend(life.take(left).await);
    assert_eq!(ids(&receipts), published);
    until_committed(kafka(), &group, &Arc::clone(&topic), 0, 20_000).await;
    life.receipts.close().await;
}
