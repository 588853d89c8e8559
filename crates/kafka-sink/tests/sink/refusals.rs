use std::time::{Duration, SystemTime};

use bytes::Bytes;
use kafka_sink::{Failure, PublishError, Refusal, Report, Sink};
use outbox::{Event, Token};
use rdkafka::Message as _;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use testbed::Kafka;

use crate::support::{DEADLINE, consume, event, kafka, publish, singles, sink, topic, within};

/// One report for one event, however it was refused.
async fn outcome(sink: &mut Sink, event: &Event) -> Result<(), Failure> {
    match sink.publish(event, Token::from_usize(0), None) {
        Ok(_) => {}
        Err(PublishError::Refused(refusal)) => return Err(Failure::Refused(refusal)),
        Err(error) => panic!("{error:?}"),
    }
    let mut reports = Vec::new();
    within(sink.reports(&mut reports)).await.unwrap();
    reports.remove(0).outcome.map(|_| ())
}

fn refusal(report: &Report) -> String {
    match &report.outcome {
        Err(Failure::Refused(refusal)) => refusal.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Publishes all events as the relay would that parks what is refused: what is lost goes to a new sink, in
/// the order it had, until nothing is left. Returns what was refused, by index.
async fn publish_all(kafka: &Kafka, properties: &[(&str, &str)], events: &[Event]) -> Vec<(usize, Refusal)> {
    let mut sink = sink(kafka, properties);
    let mut refused = Vec::new();
    let mut left: Vec<_> = (0..events.len()).collect();
    while !left.is_empty() {
        let mut lost = Vec::new();
        let mut unsent = left.iter().peekable();
        let mut reports = Vec::new();
        let mut needs_singles = false;
        loop {
            while let Some(index) = unsent.peek() {
                match sink.publish(&events[**index], Token::from_usize(**index), None) {
                    Ok(_) => {}
                    Err(PublishError::Broken(_)) => lost.push(**index),
                    Err(PublishError::Full) => break,
                    Err(PublishError::Refused(refusal)) => refused.push((**index, refusal)),
                }
                unsent.next();
            }
            if sink.in_flight() == 0 {
                break;
            }
            within(sink.reports(&mut reports)).await.unwrap();
            for Report { token, outcome } in reports.drain(..) {
                match outcome {
                    Ok(_) => {}
                    Err(Failure::Refused(refusal)) => refused.push((token.to_usize(), refusal)),
                    Err(Failure::Lost(error)) => {
                        assert!(error.is_transient(), "{error}");
                        needs_singles |= error.needs_singles();
                        lost.push(token.to_usize());
                    }
                }
            }
        }
        lost.sort_unstable();
        left = lost;
        within(sink.close()).await;
        sink = if needs_singles { singles(kafka, properties) } else { self::sink(kafka, properties) };
    }
    refused.sort_by_key(|(index, _)| *index);
    refused
}

fn payloads(kafka: &Kafka, topic: &str) -> Vec<usize> {
    let text = |payload: Option<&[u8]>| String::from_utf8(payload.unwrap().to_vec()).unwrap();
    consume(kafka, topic, 1).iter().map(|message| text(message.payload()).parse().unwrap()).collect()
}

fn numbered(topic: &str, count: usize) -> Vec<Event> {
    (0..count).map(|number| event(topic, "k", &number.to_string())).collect()
}

#[tokio::test]
async fn a_record_too_large_is_refused_alone_and_those_around_it_get_through_once_and_in_order() {
    let topic = topic(kafka(), 1, &[]);
    let mut events = numbered(&topic, 400);
    events[200].payload = Some(Bytes::from(vec![b'x'; 2_000_000]));
    // Time for all of them to stand in one queue.
    let refused = publish_all(kafka(), &[("linger.ms", "200")], &events).await;
    let [(200, refusal)] = refused.as_slice() else { panic!("{refused:?}") };
    let refusal = refusal.to_string();
    assert!(refusal.contains("20000") && refusal.contains("max.message.bytes"), "{refusal}");
    let expected: Vec<_> = (0..400).filter(|number| *number != 200).collect();
    assert_eq!(payloads(kafka(), &topic), expected);
}

#[tokio::test]
async fn nothing_behind_a_refused_record_is_stored_before_it_is_known() {
    let topic = topic(kafka(), 1, &[]);
    let mut events = numbered(&topic, 400);
    events[200].payload = Some(Bytes::from(vec![b'x'; 2_000_000]));
    let reports = publish(&mut sink(kafka(), &[("linger.ms", "200")]), &events).await;
    refusal(&reports[200]);
    assert_eq!(payloads(kafka(), &topic), (0..200).collect::<Vec<_>>());
    for report in &reports[201..] {
        assert!(matches!(&report.outcome, Err(Failure::Lost(_))), "{report:?}");
    }
}

#[tokio::test]
async fn batches_larger_than_the_topic_takes_get_through_one_by_one() {
    let topic = topic(kafka(), 1, &[("max.message.bytes", "1000")]);
    let events = numbered(&topic, 100);
    assert!(publish_all(kafka(), &[("linger.ms", "200")], &events).await.is_empty());
    assert_eq!(payloads(kafka(), &topic), (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_no_topic_can_be_named_is_refused_before_it_is_sent() {
    let mut sink = sink(kafka(), &[]);
    for topic in ["no spaces", "..", "ä"] {
        match outcome(&mut sink, &event(topic, "k", "")).await {
            Err(Failure::Refused(refusal)) => assert!(refusal.to_string().contains(topic), "{refusal}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sink.in_flight(), 0);
}

#[tokio::test]
async fn of_a_refused_batch_only_the_record_at_fault_is_refused() {
    let topic = topic(kafka(), 1, &[("cleanup.policy", "compact")]);
    // Records without a key stand in the same batch as the others.
    let properties = [("linger.ms", "500"), ("sticky.partitioning.linger.ms", "0")];
    let mut events = numbered(&topic, 20);
    events[10].aggregate_id = None;
    let refused = publish_all(kafka(), &properties, &events).await;
    let [(10, refusal)] = refused.as_slice() else { panic!("{refused:?}") };
    assert!(refusal.to_string().contains("without a key"), "{refusal}");
    assert_eq!(payloads(kafka(), &topic), (0..20).filter(|number| *number != 10).collect::<Vec<_>>());
}

#[tokio::test]
async fn after_its_singles_a_sink_goes_over_to_batches() {
    let topic = topic(kafka(), 1, &[]);
    let mut sink = singles(kafka(), &[("queue.buffering.max.messages", "20")]);
    publish(&mut sink, &numbered(&topic, 50)).await;
    assert_eq!(payloads(kafka(), &topic), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_time_that_the_topic_does_not_take_is_refused() {
    let topic = topic(kafka(), 1, &[("message.timestamp.after.max.ms", "3600000")]);
    let mut event = event(&topic, "k", "");
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    let micros = tomorrow.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros();
    event.created_at_us = Some(i64::try_from(micros).unwrap());
    match outcome(&mut singles(kafka(), &[]), &event).await {
        Err(Failure::Refused(refusal)) => assert!(refusal.to_string().contains("created_at"), "{refusal}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_topic_that_is_not_there_refuses_the_record_and_one_that_goes_away_does_not() {
    let kafka = Kafka::builder().property("auto.create.topics.enable", "false").start().unwrap();
    let properties =
        [("topic.metadata.propagation.max.ms", "1000"), ("topic.metadata.refresh.interval.ms", "500")];
    match outcome(&mut sink(&kafka, &properties), &event("missing", "k", "")).await {
        Err(Failure::Refused(refusal)) => {
            assert!(refusal.to_string().contains("create the topic"), "{refusal}");
        }
        other => panic!("{other:?}"),
    }
    let topic = topic(&kafka, 1, &[]);
    let mut sink = sink(&kafka, &properties);
    outcome(&mut sink, &event(&topic, "k", "")).await.unwrap();
    let mut config = rdkafka::ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> =
        config.set("bootstrap.servers", kafka.brokers()).create().unwrap();
    within(admin.delete_topics(&[&topic], &AdminOptions::new().operation_timeout(Some(DEADLINE))))
        .await
        .unwrap();
    let lost = loop {
        match sink.publish(&event(&topic, "k", ""), Token::from_usize(0), None) {
            Ok(_) => {}
            Err(PublishError::Broken(error)) => break error,
            Err(other) => panic!("{other:?}"),
        }
        let mut reports = Vec::new();
        within(sink.reports(&mut reports)).await.unwrap();
        match reports.remove(0).outcome {
            Ok(_) => {}
            Err(Failure::Lost(error)) => break error,
            Err(other) => panic!("{other:?}"),
        }
    };
    assert!(lost.is_transient() && lost.to_string().contains(&topic), "{lost}");
}
