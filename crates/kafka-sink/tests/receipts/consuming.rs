//! Consuming receipts.

use std::sync::Arc;
use std::time::Duration;

use kafka_sink::ChunkOutcome;
use uuid::Uuid;

use crate::support::{
    TestReceipts, committed, ids, kafka, name, offsets, put, put_with, topic, until_committed,
};

#[tokio::test]
async fn receipts_arrive_in_partition_order_with_positions() {
    let topic = topic(kafka(), 2);
    let published = [put(kafka(), &topic, 0, 1200), put(kafka(), &topic, 1, 30)];
    let mut receiver = TestReceipts::start(kafka(), &name("group"), &[]);
    receiver.observe(&topic, 0, 1199);
    receiver.observe(&topic, 1, 29);
    let receipts = receiver.take(1230).await;
    for (partition, published) in (0..).zip(&published) {
        let of_it: Vec<_> = receipts.iter().filter(|r| r.at.partition == partition).cloned().collect();
        assert_eq!(&ids(&of_it), published);
        assert_eq!(offsets(&of_it), (0..published.len() as i64).collect::<Vec<_>>());
        assert!(of_it.iter().all(|receipt| receipt.at.topic == topic && !receipt.by_request));
    }
    receiver.receipts.close().await;
}

#[tokio::test]
async fn restart_resumes_after_the_last_durable_chunk() {
    let (group, topic) = (name("group"), topic(kafka(), 1));
    let first = put(kafka(), &topic, 0, 600);
    let mut receiver = TestReceipts::start(kafka(), &group, &[]);
    receiver.observe(&topic, 0, 599);
    let mut held = Vec::new();
    let mut count = 0;
    while count < 600 {
        let chunk = receiver.chunk().await;
        count += chunk.receipts.len();
        held.push(chunk);
    }
    // All chunks but the first are durable, so no offset may be committed.
    let oldest = held.remove(0);
    let start = oldest.receipts.len();
    for chunk in held {
        chunk.done.send(ChunkOutcome::default()).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    receiver.receipts.close().await;
    drop(oldest);
    assert_eq!(committed(kafka(), &group, &topic, 0).await, None);

    let mut receiver = TestReceipts::start(kafka(), &group, &[]);
    receiver.observe(&topic, 0, 599);
    let chunk = receiver.chunk().await;
    assert_eq!(ids(&chunk.receipts), first[..chunk.receipts.len()]);
    let durable = chunk.receipts.len();
    assert!(durable <= 500 && start <= 500);
    chunk.done.send(ChunkOutcome { completed: 1, idle: 2 }).unwrap();
    // A write-back that ends drops the other chunks, which ends the worker. It commits before.
    drop(receiver.chunk().await);
    while !receiver.receipts.has_ended() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(receiver.counts(), [2, 0]);
    receiver.receipts.close().await;
    assert_eq!(committed(kafka(), &group, &topic, 0).await, Some(durable as i64));

    let second = put(kafka(), &topic, 0, 10);
    let mut receiver = TestReceipts::start(kafka(), &group, &[]);
    receiver.observe(&topic, 0, 609);
    let receipts = receiver.take(610 - durable).await;
    assert_eq!(ids(&receipts), [&first[durable..], &second[..]].concat());
    receiver.receipts.close().await;
    assert_eq!(committed(kafka(), &group, &topic, 0).await, Some(610));
}

#[tokio::test]
async fn topic_observed_later_is_read_from_its_beginning() {
    let mut receiver = TestReceipts::start(kafka(), &name("group"), &[]);
    let first = topic(kafka(), 1);
    let published = put(kafka(), &first, 0, 5);
    receiver.observe(&first, 0, 4);
    assert_eq!(ids(&receiver.take(5).await), published);
    let second = topic(kafka(), 3);
    let published = put(kafka(), &second, 2, 7);
    receiver.observe(&second, 2, 6);
    assert_eq!(ids(&receiver.take(7).await), published);
    let published = put(kafka(), &first, 0, 1);
    receiver.observe(&first, 0, 5);
    assert_eq!(ids(&receiver.take(1).await), published);
    receiver.receipts.close().await;
}

#[tokio::test]
async fn records_of_no_row_are_counted_and_committed() {
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
    let mut receiver = TestReceipts::start(kafka(), &group, &[]);
    receiver.observe(&topic, 0, 5);
    let receipts = receiver.take(2).await;
    assert_eq!(offsets(&receipts), [3, 4]);
    assert_eq!(receipts.iter().map(|r| r.by_request).collect::<Vec<_>>(), [false, true]);
    // The last record has no receipt and is committed with the others.
    until_committed(kafka(), &group, &topic, 0, 6).await;
    assert_eq!(receiver.counts(), [0, 4]);
    receiver.receipts.close().await;
}

#[tokio::test]
async fn reading_pauses_while_eight_chunks_are_not_durable() {
    let (group, topic) = (name("group"), topic(kafka(), 1));
    let published = put(kafka(), &topic, 0, 20_000);
    let mut receiver = TestReceipts::start(kafka(), &group, &[]);
    receiver.observe(&topic, 0, 19_999);
    let mut held = Vec::new();
    while let Ok(chunk) = tokio::time::timeout(Duration::from_secs(3), receiver.chunks.recv()).await {
        held.push(chunk.unwrap());
    }
    assert!(held.len() <= 8, "{}", held.len());
    let mut receipts = Vec::new();
    for chunk in held {
        receipts.extend(chunk.receipts);
        chunk.done.send(ChunkOutcome::default()).unwrap();
    }
    let left = 20_000 - receipts.len();
    receipts.extend(receiver.take(left).await);
    assert_eq!(ids(&receipts), published);
    until_committed(kafka(), &group, &Arc::clone(&topic), 0, 20_000).await;
    receiver.receipts.close().await;
}
