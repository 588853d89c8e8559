use std::time::{Duration, SystemTime};

use bytes::Bytes;
use kafka_sink::{DeliveryError, DeliveryReport, PublishError, Rejection, Sink};
use outbox::{Event, Token};
use rdkafka::Message as _;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use testbed::Kafka;

use crate::support::{DEADLINE, consume, event, kafka, publish, singles, sink, topic, within};

/// The outcome of one event, whether `publish` or the broker rejected it.
async fn outcome(sink: &mut Sink, event: &Event) -> Result<(), DeliveryError> {
    match sink.publish(event, Token::from_usize(0), None) {
        Ok(_) => {}
        Err(PublishError::Rejected(rejection)) => return Err(DeliveryError::Rejected(rejection)),
        Err(error) => panic!("{error:?}"),
    }
    let mut reports = Vec::new();
    within(sink.reports(&mut reports)).await.unwrap();
    reports.remove(0).outcome.map(|_| ())
}

fn rejection(report: &DeliveryReport) -> String {
    match &report.outcome {
        Err(DeliveryError::Rejected(rejection)) => rejection.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Publishes all events as the relay does with the policy park: events of a failed producer go to a new sink, in order,
/// until none is left. Returns the rejections by index.
async fn publish_all(
    kafka: &Kafka,
    properties: &[(&str, &str)],
    events: &[Event],
) -> Vec<(usize, Rejection)> {
    let mut sink = sink(kafka, properties);
    let mut rejected = Vec::new();
    let mut left: Vec<_> = (0..events.len()).collect();
    while !left.is_empty() {
        let mut unsettled = Vec::new();
        let mut unsent = left.iter().peekable();
        let mut reports = Vec::new();
        let mut needs_singles = false;
        loop {
            while let Some(index) = unsent.peek() {
                match sink.publish(&events[**index], Token::from_usize(**index), None) {
                    Ok(_) => {}
                    Err(PublishError::ProducerFailed(_)) => unsettled.push(**index),
                    Err(PublishError::QueueFull) => break,
                    Err(PublishError::Rejected(rejection)) => rejected.push((**index, rejection)),
                }
                unsent.next();
            }
            if sink.in_flight() == 0 {
                break;
            }
            within(sink.reports(&mut reports)).await.unwrap();
            for DeliveryReport { token, outcome } in reports.drain(..) {
                match outcome {
                    Ok(_) => {}
                    Err(DeliveryError::Rejected(rejection)) => rejected.push((token.to_usize(), rejection)),
                    Err(DeliveryError::ProducerFailed(error)) => {
                        assert!(error.is_retryable(), "{error}");
                        needs_singles |= error.needs_singles();
                        unsettled.push(token.to_usize());
                    }
                }
            }
        }
        unsettled.sort_unstable();
        left = unsettled;
        within(sink.close()).await;
        sink = if needs_singles { singles(kafka, properties) } else { self::sink(kafka, properties) };
    }
    rejected.sort_by_key(|(index, _)| *index);
    rejected
}

fn payloads(kafka: &Kafka, topic: &str) -> Vec<usize> {
    let text = |payload: Option<&[u8]>| String::from_utf8(payload.unwrap().to_vec()).unwrap();
    consume(kafka, topic, 1).iter().map(|message| text(message.payload()).parse().unwrap()).collect()
}

fn numbered(topic: &str, count: usize) -> Vec<Event> {
    (0..count).map(|number| event(topic, "k", &number.to_string())).collect()
}

#[tokio::test]
async fn too_large_record_is_rejected_alone_and_others_are_stored_once_in_order() {
    let topic = topic(kafka(), 1, &[]);
    let mut events = numbered(&topic, 400);
    events[200].payload = Some(Bytes::from(vec![b'x'; 2_000_000]));
    // Long enough to queue all of them.
    let rejected = publish_all(kafka(), &[("linger.ms", "200")], &events).await;
    let [(200, rejection)] = rejected.as_slice() else { panic!("{rejected:?}") };
    let rejection = rejection.to_string();
    assert!(rejection.contains("20000") && rejection.contains("max.message.bytes"), "{rejection}");
    let expected: Vec<_> = (0..400).filter(|number| *number != 200).collect();
    assert_eq!(payloads(kafka(), &topic), expected);
}

#[tokio::test]
async fn no_record_behind_a_rejected_one_is_stored_before_its_report() {
    let topic = topic(kafka(), 1, &[]);
    let mut events = numbered(&topic, 400);
    events[200].payload = Some(Bytes::from(vec![b'x'; 2_000_000]));
    let reports = publish(&mut sink(kafka(), &[("linger.ms", "200")]), &events).await;
    rejection(&reports[200]);
    assert_eq!(payloads(kafka(), &topic), (0..200).collect::<Vec<_>>());
    for report in &reports[201..] {
        assert!(matches!(&report.outcome, Err(DeliveryError::ProducerFailed(_))), "{report:?}");
    }
}

#[tokio::test]
async fn batches_above_the_topics_limit_are_stored_one_by_one() {
    let topic = topic(kafka(), 1, &[("max.message.bytes", "1000")]);
    let events = numbered(&topic, 100);
    assert!(publish_all(kafka(), &[("linger.ms", "200")], &events).await.is_empty());
    assert_eq!(payloads(kafka(), &topic), (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn illegal_topic_name_is_rejected_before_it_is_sent() {
    let mut sink = sink(kafka(), &[]);
    for topic in ["no spaces", "..", "ä"] {
        match outcome(&mut sink, &event(topic, "k", "")).await {
            Err(DeliveryError::Rejected(rejection)) => {
                assert!(rejection.to_string().contains(topic), "{rejection}")
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sink.in_flight(), 0);
}

#[tokio::test]
async fn only_the_invalid_record_of_a_batch_is_rejected() {
    let topic = topic(kafka(), 1, &[("cleanup.policy", "compact")]);
    // Records without a key share a batch with the others.
    let properties = [("linger.ms", "500"), ("sticky.partitioning.linger.ms", "0")];
    let mut events = numbered(&topic, 20);
    events[10].aggregate_id = None;
    let rejected = publish_all(kafka(), &properties, &events).await;
    let [(10, rejection)] = rejected.as_slice() else { panic!("{rejected:?}") };
    assert!(rejection.to_string().contains("without a key"), "{rejection}");
    assert_eq!(payloads(kafka(), &topic), (0..20).filter(|number| *number != 10).collect::<Vec<_>>());
}

#[tokio::test]
async fn sink_sends_batches_after_its_singles() {
    let topic = topic(kafka(), 1, &[]);
    let mut sink = singles(kafka(), &[("queue.buffering.max.messages", "20")]);
    publish(&mut sink, &numbered(&topic, 50)).await;
    assert_eq!(payloads(kafka(), &topic), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn timestamp_outside_the_topics_range_is_rejected() {
    let topic = topic(kafka(), 1, &[("message.timestamp.after.max.ms", "3600000")]);
    let mut event = event(&topic, "k", "");
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    let micros = tomorrow.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros();
    event.created_at_us = Some(i64::try_from(micros).unwrap());
    match outcome(&mut singles(kafka(), &[]), &event).await {
        Err(DeliveryError::Rejected(rejection)) => {
            assert!(rejection.to_string().contains("created_at"), "{rejection}")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn missing_topic_rejects_the_record_and_a_deleted_one_does_not() {
    let kafka = Kafka::builder().property("auto.create.topics.enable", "false").start().unwrap();
    let properties =
        [("topic.metadata.propagation.max.ms", "1000"), ("topic.metadata.refresh.interval.ms", "500")];
    match outcome(&mut sink(&kafka, &properties), &event("missing", "k", "")).await {
        Err(DeliveryError::Rejected(rejection)) => {
            assert!(rejection.to_string().contains("create the topic"), "{rejection}");
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
            Err(PublishError::ProducerFailed(error)) => break error,
            Err(other) => panic!("{other:?}"),
        }
        let mut reports = Vec::new();
        within(sink.reports(&mut reports)).await.unwrap();
        match reports.remove(0).outcome {
            Ok(_) => {}
            Err(DeliveryError::ProducerFailed(error)) => break error,
            Err(other) => panic!("{other:?}"),
        }
    };
    assert!(lost.is_retryable() && lost.to_string().contains(&topic), "{lost}");
}
