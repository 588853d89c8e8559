use bytes::Bytes;
use kafka_sink::PartitionOffset;
use rdkafka::Message as _;
use rdkafka::message::{Headers as _, OwnedMessage, Timestamp};
use uuid::Uuid;

use crate::support::{consume, event, kafka, publish, sink, stored_at, topic};

fn headers(message: &OwnedMessage) -> Vec<(String, String)> {
    let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
    let headers = message.headers().unwrap();
    headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
}

#[tokio::test]
async fn record_is_stored_byte_for_byte_at_the_reported_offset() {
    let topic = topic(kafka(), 4, &[]);
    let payloads: [&[u8]; 5] = [
        r#"{"q":"\"'\\", "ü":"日本語 🙂",  "n" : 1.50}"#.as_bytes(),
        b"\0\x01\xfe\xff not text",
        b"null",
        b"",
        &[b'x'; 300_000],
    ];
    let events: Vec<_> = payloads
        .iter()
        .enumerate()
        .map(|(index, payload)| {
            let mut event = event(&topic, &format!("key-{index}"), "");
            event.payload = Some(Bytes::copy_from_slice(payload));
            event
        })
        .collect();
    let mut sink = sink(kafka(), &[]);
    let reports = publish(&mut sink, &events).await;
    let messages = consume(kafka(), &topic, 4);
    assert_eq!(messages.len(), events.len());
    for (event, report) in events.iter().zip(&reports) {
        let PartitionOffset { partition, offset } = stored_at(report);
        let message = messages.iter().find(|m| (m.partition(), m.offset()) == (partition, offset)).unwrap();
        assert_eq!(message.key(), event.aggregate_id.as_deref());
        assert_eq!(message.payload(), event.payload.as_deref());
        assert_eq!(headers(message)[0], ("id".to_owned(), event.id.to_string()));
    }
}

#[tokio::test]
async fn null_payload_is_a_tombstone_and_empty_payload_an_empty_value() {
    let topic = topic(kafka(), 1, &[]);
    let mut null = event(&topic, "k", "");
    null.payload = None;
    let empty = event(&topic, "k", "");
    publish(&mut sink(kafka(), &[]), &[null, empty]).await;
    let messages = consume(kafka(), &topic, 1);
    assert_eq!(messages[0].payload(), None);
    assert_eq!(messages[1].payload(), Some(&b""[..]));
}

#[tokio::test]
async fn null_key_is_no_key_and_empty_key_an_empty_key() {
    let topic = topic(kafka(), 1, &[]);
    let mut null = event(&topic, "k", "");
    null.aggregate_id = None;
    let empty = event(&topic, "", "");
    let mut own = event(&topic, "k", "");
    own.partition_key = Some(Bytes::from_static(b"own \xff"));
    publish(&mut sink(kafka(), &[]), &[null, empty, own]).await;
    let messages = consume(kafka(), &topic, 1);
    let mut keys: Vec<_> = messages.iter().map(|message| message.key().map(<[u8]>::to_vec)).collect();
    // A record without a key may be sent after later ones with a key.
    keys.sort();
    assert_eq!(keys, [None, Some(Vec::new()), Some(b"own \xff".to_vec())]);
}

#[tokio::test]
async fn headers_and_timestamp_are_those_of_the_row() {
    let topic = topic(kafka(), 1, &[]);
    let mut first = event(&topic, "k", "1");
    first.headers =
        Some(Bytes::from(r#"{"trace":"a\"b","n":null,"o":{"x": 1},"id":"not mine","t":"1","t":2}"#));
    first.created_at_us = Some(1_700_000_000_123_999);
    let mut second = event(&topic, "k", "2");
    second.id = Uuid::nil();
    second.event_type = None;
    second.aggregate_type = None;
    publish(&mut sink(kafka(), &[]), &[first.clone(), second]).await;
    let messages = consume(kafka(), &topic, 1);
    let id = first.id.to_string();
    let expected = [
        ("id", id.as_str()),
        ("event_type", "order_placed"),
        ("aggregate_type", "order"),
        ("trace", "a\"b"),
        ("n", "null"),
        ("o", r#"{"x": 1}"#),
        ("t", "1"),
        ("t", "2"),
    ];
    assert_eq!(headers(&messages[0]), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(messages[0].timestamp(), Timestamp::CreateTime(1_700_000_000_123));
    assert_eq!(headers(&messages[1]), [("id".to_owned(), Uuid::nil().to_string())]);
    assert!(messages[1].timestamp().to_millis().unwrap() > 1_700_000_000_123);
}

#[tokio::test]
async fn topic_is_created_if_the_brokers_allow_it() {
    let mut event = event("", "k", "1");
    event.aggregate_type = Some(Bytes::from("auto_made"));
    let mut sink = sink(kafka(), &[]);
    let report = publish(&mut sink, &[event]).await.remove(0);
    assert_eq!(stored_at(&report).offset, 0);
    assert_eq!(consume(kafka(), "outbox.event.auto_made", 3).len(), 1);
}
