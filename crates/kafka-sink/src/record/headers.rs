//! A record's headers.

use std::borrow::Cow;
use std::fmt;

use outbox::Event;
use rdkafka::message::{Header, OwnedHeaders};
use serde::de::{DeserializeSeed, Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::record::rejection::Rejection;

/// Header names that Postrider sets. Headers of a row with these names would mislead consumers.
const RESERVED: [&str; 7] = [
    "id",
    "event_type",
    "aggregate_type",
    REPLAY,
    DEAD_LETTER_REASON,
    DEAD_LETTER_TOPIC,
    DEAD_LETTER_HEADERS,
];

/// Why the record was published again: the id of a replay request, or `reconciler`.
pub(crate) const REPLAY: &str = "postrider-replay";

/// On a dead letter: why the row could not be published.
pub(crate) const DEAD_LETTER_REASON: &str = "postrider-error";

/// On a dead letter: the row's topic, if it is known.
pub(crate) const DEAD_LETTER_TOPIC: &str = "postrider-topic";

/// On a dead letter: the row's headers, if they are not a JSON object.
pub(crate) const DEAD_LETTER_HEADERS: &str = "postrider-headers";

/// Builds the headers of records, and warns once about each reserved name.
#[derive(Debug, Default)]
pub(crate) struct HeaderBuilder {
    warned: [bool; RESERVED.len()],
}

impl HeaderBuilder {
    /// The headers of the event's record: `id`; `event_type` and `aggregate_type`, if they are not NULL; every member of
    /// the row's headers in their order, repeated ones included, a string as its text and any other value as its JSON
    /// text; and `postrider-replay`, if the record is published again.
    ///
    /// A member with a reserved name is dropped, with a warning once per name.
    pub(crate) fn build(&mut self, event: &Event, replay: Option<&str>) -> Result<OwnedHeaders, Rejection> {
        let headers = of_columns(event);
        let headers = match event.headers.as_deref() {
            Some(json) => self.add_members(json, headers).map_err(|e| Rejection::headers(e.to_string()))?,
            None => headers,
        };
        Ok(with(headers, REPLAY, replay.map(str::as_bytes)))
    }

    /// The headers of a dead letter: those of the record, if they can be built, and the reason.
    pub(crate) fn build_dead_letter(
        &mut self,
        event: &Event,
        reason: &str,
        original_topic: Option<&str>,
    ) -> OwnedHeaders {
        let headers = self
            .build(event, None)
            .unwrap_or_else(|_| with(of_columns(event), DEAD_LETTER_HEADERS, event.headers.as_deref()));
        let headers = with(headers, DEAD_LETTER_REASON, Some(reason.as_bytes()));
        with(headers, DEAD_LETTER_TOPIC, original_topic.map(str::as_bytes))
    }

    fn add_members(&mut self, json: &[u8], headers: OwnedHeaders) -> serde_json::Result<OwnedHeaders> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let mut members = HeaderMembers { builder: self, headers: Some(headers) };
        deserializer.deserialize_map(&mut members)?;
        let headers = members.headers.take();
        deserializer.end()?;
        headers.ok_or_else(|| serde_json::Error::custom("the headers are missing"))
    }

    fn is_reserved(&mut self, name: &str) -> bool {
        let Some(index) = RESERVED.iter().position(|reserved| *reserved == name) else { return false };
        if !std::mem::replace(&mut self.warned[index], true) {
            tracing::warn!(
                target: "kafka",
                header = name,
                "a row's headers contain a reserved name; such members are dropped (logged once)"
            );
        }
        true
    }
}

fn of_columns(event: &Event) -> OwnedHeaders {
    let mut id = Uuid::encode_buffer();
    let id: &str = event.id.hyphenated().encode_lower(&mut id);
    // These three, and room for a trace context without growing.
    let headers = OwnedHeaders::new_with_capacity(6).insert(Header { key: "id", value: Some(id.as_bytes()) });
    let headers = with(headers, "event_type", event.event_type.as_deref());
    with(headers, "aggregate_type", event.aggregate_type.as_deref())
}

/// Adds a header, if it has a value.
fn with(headers: OwnedHeaders, key: &str, value: Option<&[u8]>) -> OwnedHeaders {
    match value {
        Some(_) => headers.insert(Header { key, value }),
        None => headers,
    }
}

struct HeaderMembers<'m> {
    builder: &'m mut HeaderBuilder,
    headers: Option<OwnedHeaders>,
}

impl<'de> Visitor<'de> for &mut HeaderMembers<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some((Text(name), value)) = members.next_entry_seed(TextSeed, RawSeed)? {
            if self.builder.is_reserved(&name) {
                continue;
            }
            let value = match value.get() {
                json if json.starts_with('"') => text(json).map_err(A::Error::custom)?,
                json => Cow::Borrowed(json),
            };
            let header = Header { key: &name, value: Some(value.as_bytes()) };
            self.headers = self.headers.take().map(|headers| headers.insert(header));
        }
        Ok(())
    }
}

/// The text of a JSON string, borrowed if it contains no escapes.
fn text(json: &str) -> serde_json::Result<Cow<'_, str>> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    TextSeed.deserialize(&mut deserializer).map(|Text(text)| text)
}

struct Text<'a>(Cow<'a, str>);

struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Text<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Text<'de>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for TextSeed {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

struct RawSeed;

impl<'de> DeserializeSeed<'de> for RawSeed {
    type Value = &'de RawValue;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<&'de RawValue, D::Error> {
        serde::Deserialize::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use rdkafka::message::Headers as _;
    use serde_json::Value;

    use super::*;
    use crate::record::fixture::event;

    fn build(json: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Rejection> {
        let mut event = event();
        event.headers = Some(Bytes::copy_from_slice(json));
        let headers = HeaderBuilder::default().build(&event, None)?;
        Ok(listed(&headers).split_off(3))
    }

    fn listed(headers: &OwnedHeaders) -> Vec<(String, Vec<u8>)> {
        let headers = headers.iter().map(|header| (header.key.to_owned(), header.value.unwrap().to_vec()));
        headers.collect()
    }

    fn pair(name: &str, value: &str) -> (String, Vec<u8>) {
        (name.to_owned(), value.as_bytes().to_vec())
    }

    #[test]
    fn replay_header_comes_last() {
        let mut event = event();
        event.headers = Some(Bytes::from(r#"{"postrider-replay": "mine", "trace": "t"}"#));
        let headers =
            listed(&HeaderBuilder::default().build(&event, Some("reconciler")).unwrap()).split_off(3);
        assert_eq!(headers, [pair("trace", "t"), pair("postrider-replay", "reconciler")]);
    }

    #[test]
    fn dead_letter_keeps_the_headers_and_adds_the_reason() {
        let mut event = event();
        let mut letter = |headers: &'static str, topic| {
            event.headers = Some(Bytes::from(headers));
            listed(&HeaderBuilder::default().build_dead_letter(&event, "too large", topic)).split_off(3)
        };
        let reason = pair("postrider-error", "too large");
        let topic = pair("postrider-topic", "orders");
        assert_eq!(letter(r#"{"trace": "t"}"#, Some("orders")), [pair("trace", "t"), reason.clone(), topic]);
        assert_eq!(letter("[1]", None), [pair("postrider-headers", "[1]"), reason]);
    }

    #[test]
    fn column_headers_come_first_and_skip_nulls() {
        let mut event = event();
        let mut builder = HeaderBuilder::default();
        let id = event.id.to_string();
        assert_eq!(
            listed(&builder.build(&event, None).unwrap()),
            [pair("id", &id), pair("event_type", "order_placed"), pair("aggregate_type", "order")]
        );
        event.event_type = None;
        event.aggregate_type = None;
        assert_eq!(listed(&builder.build(&event, None).unwrap()), [pair("id", &id)]);
    }

    #[test]
    fn members_keep_their_order_strings_are_text_and_the_rest_is_json() {
        let json =
            r#" {"z":"plain", "a" : "q\"\u00e9\n", "n": null,"f":1.50, "o":{"k": [1,  2]},"t":true,"":""} "#;
        assert_eq!(
            build(json.as_bytes()).unwrap(),
            [
                pair("z", "plain"),
                pair("a", "q\"é\n"),
                pair("n", "null"),
                pair("f", "1.50"),
                pair("o", r#"{"k": [1,  2]}"#),
                pair("t", "true"),
                pair("", "")
            ]
        );
    }

    #[test]
    fn repeated_member_is_two_headers() {
        assert_eq!(build(br#"{"a":1,"\u0061":"2"}"#).unwrap(), [pair("a", "1"), pair("a", "2")]);
    }

    #[test]
    fn reserved_member_is_dropped() {
        let json =
            br#"{"id":"x","keep":"y","event_type":1,"aggregate_type":2,"postrider-replay":3,"\u0069d":4}"#;
        assert_eq!(build(json).unwrap(), [pair("keep", "y")]);
    }

    #[test]
    fn build_rejects_headers_that_are_not_an_object() {
        let cases: [&[u8]; 9] = [
            b"",
            b"null",
            b"[1]",
            b"\"a\"",
            b"1",
            b"{\"a\":1",
            b"{\"a\":1} x",
            b"{\"a\":\"\\ud800\"}",
            b"{\"a\":\"\xff\"}",
        ];
        for json in cases {
            let rejection = build(json).unwrap_err().to_string();
            assert!(rejection.contains("JSON object"), "{rejection}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[^\0]*", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn build_makes_a_header_of_every_member(
            members in proptest::collection::vec(("[^\0]{0,8}", json()), 0..8),
        ) {
            let text: Vec<_> = members
                .iter()
                .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())))
                .collect();
            let expected: Vec<_> = members
                .iter()
                .filter(|(name, _)| !RESERVED.contains(&name.as_str()))
                .map(|(name, value)| pair(name, &value.as_str().map_or(value.to_string(), str::to_owned)))
                .collect();
            prop_assert_eq!(build(format!("{{{}}}", text.join(",")).as_bytes()).unwrap(), expected);
        }

        #[test]
        fn build_accepts_or_rejects_any_bytes(json in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = build(&json);
        }

        #[test]
        fn build_accepts_or_rejects_json_like_text(json in r#"[{}\[\]",:\\u0d8-9a-ftruenl .\-+eE]{0,32}"#) {
            let _ = build(json.as_bytes());
        }
    }
}
