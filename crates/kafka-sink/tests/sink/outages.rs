use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka_sink::{DeliveryReport, PublishError, Sink};
use outbox::{Event, Token};
use rdkafka::Message as _;
use testbed::Kafka;

use crate::support::{DEADLINE, consume, event, kafka, publish, sink, stored_at, topic, within};

/// Event `number`, with one of a few keys.
fn numbered(topic: &str, number: usize) -> Event {
    event(topic, &format!("key-{}", number % 20), &(number / 20).to_string())
}

/// Waits for the condition and takes reports until then.
async fn until(sink: &mut Sink, reports: &mut Vec<DeliveryReport>, condition: impl Fn(&Sink, usize) -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition(sink, reports.len()) {
        assert!(Instant::now() < deadline, "no result before the deadline");
        let _ = tokio::time::timeout(Duration::from_millis(20), sink.reports(reports)).await;
    }
}

/// Asserts that the records of each key are stored once and in order.
fn assert_once_and_in_order(kafka: &Kafka, topic: &str, partitions: i32, per_key: usize) {
    let mut keys: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    for message in consume(kafka, topic, partitions) {
        let number = std::str::from_utf8(message.payload().unwrap()).unwrap().parse().unwrap();
        keys.entry(message.key().unwrap().to_vec()).or_default().push(number);
    }
    assert_eq!(keys.len(), 20);
    for (key, numbers) in keys {
        assert_eq!(numbers, (0..per_key).collect::<Vec<_>>(), "{}", String::from_utf8_lossy(&key));
    }
}

#[tokio::test]
async fn broker_crash_loses_reorders_and_duplicates_no_record() {
    const COUNT: usize = 20_000;
    let kafka = Kafka::start().unwrap();
    let topic = topic(&kafka, 3, &[]);
    let mut sink = sink(&kafka, &[]);
    let mut reports = Vec::new();
    for number in 0..COUNT {
        while let Err(error) = sink.publish(&numbered(&topic, number), Token::from_usize(number), None) {
            assert!(matches!(error, PublishError::QueueFull), "{error:?}");
            within(sink.reports(&mut reports)).await.unwrap();
        }
        if number == COUNT / 2 {
            until(&mut sink, &mut reports, |_, count| count > 0).await;
            kafka.kill().unwrap();
        }
    }
    until(&mut sink, &mut reports, |sink, _| sink.outage().is_some()).await;
    assert!(!sink.outage().unwrap().reason.is_empty());
    let during = reports.len();
    assert!(during < COUNT, "nothing was in flight when the broker went");
    kafka.start_again().unwrap();
    until(&mut sink, &mut reports, |_, count| count == COUNT).await;
    for report in &reports {
        stored_at(report);
    }
    until(&mut sink, &mut reports, |sink, _| sink.outage().is_none()).await;
    assert_eq!(sink.in_flight(), 0);
    assert_once_and_in_order(&kafka, &topic, 3, COUNT / 20);
}

#[tokio::test]
async fn sink_waits_for_a_broker_and_notices_it_without_a_record() {
    let kafka = Kafka::builder().prepare().unwrap();
    let mut waiting = sink(&kafka, &[]);
    let mut idle = sink(&kafka, &[]);
    waiting.publish(&numbered("auto.made", 0), Token::from_usize(0), None).unwrap();
    let mut reports = Vec::new();
    until(&mut waiting, &mut reports, |sink, _| sink.outage().is_some()).await;
    until(&mut idle, &mut Vec::new(), |sink, _| sink.outage().is_some()).await;
    kafka.start_again().unwrap();
    until(&mut waiting, &mut reports, |_, count| count == 1).await;
    stored_at(&reports[0]);
    let events: Vec<_> = (1..100).map(|number| numbered("auto.made", number)).collect();
    publish(&mut waiting, &events).await;
    until(&mut idle, &mut Vec::new(), |sink, _| sink.outage().is_none()).await;
    assert_once_and_in_order(&kafka, "auto.made", 3, 5);
}

#[tokio::test]
async fn full_queue_is_backpressure_until_a_report() {
    let topic = topic(kafka(), 1, &[]);
    let mut sink = sink(kafka(), &[("queue.buffering.max.messages", "10"), ("linger.ms", "50")]);
    publish(&mut sink, &[numbered(&topic, 0)]).await;
    let mut number = 0;
    let full = loop {
        match sink.publish(&numbered(&topic, number), Token::from_usize(number), None) {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, PublishError::QueueFull), "{full:?}");
    assert_eq!(number, 10);
    let mut reports = Vec::new();
    until(&mut sink, &mut reports, |_, count| count == number).await;
    let events: Vec<_> = (0..200).map(|number| numbered(&topic, number)).collect();
    publish(&mut sink, &events).await;
    assert_eq!(consume(kafka(), &topic, 1).len(), 211);
}

#[tokio::test]
async fn close_returns_without_a_broker() {
    for pauses in [false, true] {
        let kafka = Kafka::start().unwrap();
        let topic = topic(&kafka, 3, &[]);
        let mut sink = sink(&kafka, &[]);
        publish(&mut sink, &[numbered(&topic, 0)]).await;
        if pauses {
            kafka.pause().unwrap()
        } else {
            kafka.kill().unwrap()
        }
        for number in 0..1000 {
            // Records of a partition without an acknowledged record are refused after the first.
            let _ = sink.publish(&numbered(&topic, number), Token::from_usize(number), None);
        }
        assert!(sink.in_flight() > 1);
        let started = Instant::now();
        within(sink.close()).await;
        println!("closed within {:?} (paused: {pauses})", started.elapsed());
        if pauses {
            kafka.resume().unwrap();
        }
    }
}
