//! A record's headers.

use std::borrow::Cow;
use std::fmt;

use outbox::Event;
use rdkafka::message::{Header, OwnedHeaders};
use serde::de::{DeserializeSeed, Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::record::rejection::Refusal;

/// The headers that are Postrider's: a row's own headers of these names would mislead its consumers.
const OURS: [&str; 7] = [
    "id",
    "event_type",
    "aggregate_type",
    REPLAY,
    DEAD_LETTER_REASON,
    DEAD_LETTER_TOPIC,
    DEAD_LETTER_HEADERS,
];

/// Who had the record sent again: a request's id, or `reconciler`.
pub(crate) const REPLAY: &str = "postrider-replay";

/// On a dead letter: why the row could not be published.
pub(crate) const DEAD_LETTER_REASON: &str = "postrider-error";

/// On a dead letter: the topic that it was meant for, where that is known.
pub(crate) const DEAD_LETTER_TOPIC: &str = "postrider-topic";

/// On a dead letter: the row's headers as they stand, where they are no JSON object.
pub(crate) const DEAD_LETTER_HEADERS: &str = "postrider-headers";

/// Makes the headers of records, and remembers which warnings have been given.
#[derive(Debug, Default)]
pub(crate) struct HeaderMaker {
    warned: [bool; OURS.len()],
}

impl HeaderMaker {
    /// The headers of the event's record: `id`, then `event_type` and `aggregate_type` where they are not
    /// NULL, then every member of the row's own headers in the order they are written, repeated ones
    /// included: a string as its text, anything else as its JSON text untouched; then who had it sent again.
    ///
    /// A member with one of Postrider's names is left out, with a warning once per name.
    pub(crate) fn make(&mut self, event: &Event, replay: Option<&str>) -> Result<OwnedHeaders, Refusal> {
        let headers = of_columns(event);
        let headers = match event.headers.as_deref() {
            Some(json) => self.add_members(json, headers).map_err(|e| Refusal::headers(e.to_string()))?,
            None => headers,
        };
        Ok(with(headers, REPLAY, replay.map(str::as_bytes)))
    }

    /// The headers of a dead letter: those of the record where they can be made, and why it is one.
    pub(crate) fn make_dead_letter(
        &mut self,
        event: &Event,
        reason: &str,
        meant_for: Option<&str>,
    ) -> OwnedHeaders {
        let headers = self
            .make(event, None)
            .unwrap_or_else(|_| with(of_columns(event), DEAD_LETTER_HEADERS, event.headers.as_deref()));
        let headers = with(headers, DEAD_LETTER_REASON, Some(reason.as_bytes()));
        with(headers, DEAD_LETTER_TOPIC, meant_for.map(str::as_bytes))
    }

    fn add_members(&mut self, json: &[u8], headers: OwnedHeaders) -> serde_json::Result<OwnedHeaders> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let mut members = Members { maker: self, headers: Some(headers) };
        deserializer.deserialize_map(&mut members)?;
        let headers = members.headers.take();
        deserializer.end()?;
        headers.ok_or_else(|| serde_json::Error::custom("the headers went astray"))
    }

    fn is_ours(&mut self, name: &str) -> bool {
        let Some(index) = OURS.iter().position(|ours| *ours == name) else { return false };
        if !std::mem::replace(&mut self.warned[index], true) {
            tracing::warn!(
                target: "kafka",
                "a row's headers have a member {name:?}, which is Postrider's own header: such members are left out (said once)"
            );
        }
        true
    }
}

fn of_columns(event: &Event) -> OwnedHeaders {
    let mut id = Uuid::encode_buffer();
    let id: &str = event.id.hyphenated().encode_lower(&mut id);
    // Three of ours, and room for a trace's context before the list has to grow.
    let headers = OwnedHeaders::new_with_capacity(6).insert(Header { key: "id", value: Some(id.as_bytes()) });
    let headers = with(headers, "event_type", event.event_type.as_deref());
    with(headers, "aggregate_type", event.aggregate_type.as_deref())
}

/// With one header more, unless there is nothing to say in it.
fn with(headers: OwnedHeaders, key: &str, value: Option<&[u8]>) -> OwnedHeaders {
    match value {
        Some(_) => headers.insert(Header { key, value }),
        None => headers,
    }
}

struct Members<'m> {
    maker: &'m mut HeaderMaker,
    headers: Option<OwnedHeaders>,
}

impl<'de> Visitor<'de> for &mut Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some((Text(name), value)) = members.next_entry_seed(TextSeed, RawSeed)? {
            if self.maker.is_ours(&name) {
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

/// The text of a JSON string, borrowed where nothing in it is escaped.
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

    fn make(json: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Refusal> {
        let mut event = event();
        event.headers = Some(Bytes::copy_from_slice(json));
        let headers = HeaderMaker::default().make(&event, None)?;
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
    fn what_is_sent_again_says_so_last() {
        let mut event = event();
        event.headers = Some(Bytes::from(r#"{"postrider-replay": "mine", "trace": "t"}"#));
        let headers = listed(&HeaderMaker::default().make(&event, Some("reconciler")).unwrap()).split_off(3);
        assert_eq!(headers, [pair("trace", "t"), pair("postrider-replay", "reconciler")]);
    }

    #[test]
    fn a_dead_letter_keeps_what_it_had_and_says_why_it_is_one() {
        let mut event = event();
        let mut letter = |headers: &'static str, topic| {
            event.headers = Some(Bytes::from(headers));
            listed(&HeaderMaker::default().make_dead_letter(&event, "too large", topic)).split_off(3)
        };
        let reason = pair("postrider-error", "too large");
        let topic = pair("postrider-topic", "orders");
        assert_eq!(letter(r#"{"trace": "t"}"#, Some("orders")), [pair("trace", "t"), reason.clone(), topic]);
        assert_eq!(letter("[1]", None), [pair("postrider-headers", "[1]"), reason]);
    }

    #[test]
    fn the_rows_own_columns_come_first_and_a_null_one_is_left_out() {
        let mut event = event();
        let mut maker = HeaderMaker::default();
        let id = event.id.to_string();
        assert_eq!(
            listed(&maker.make(&event, None).unwrap()),
            [pair("id", &id), pair("event_type", "order_placed"), pair("aggregate_type", "order")]
        );
        event.event_type = None;
        event.aggregate_type = None;
        assert_eq!(listed(&maker.make(&event, None).unwrap()), [pair("id", &id)]);
    }

    #[test]
    fn members_keep_their_order_a_string_is_its_text_and_the_rest_is_json() {
        let json =
            r#" {"z":"plain", "a" : "q\"\u00e9\n", "n": null,"f":1.50, "o":{"k": [1,  2]},"t":true,"":""} "#;
        assert_eq!(
            make(json.as_bytes()).unwrap(),
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
    fn a_member_written_twice_is_two_headers() {
        assert_eq!(make(br#"{"a":1,"\u0061":"2"}"#).unwrap(), [pair("a", "1"), pair("a", "2")]);
    }

    #[test]
    fn a_member_with_one_of_our_names_is_left_out() {
        let json =
            br#"{"id":"x","keep":"y","event_type":1,"aggregate_type":2,"postrider-replay":3,"\u0069d":4}"#;
        assert_eq!(make(json).unwrap(), [pair("keep", "y")]);
    }

    #[test]
    fn what_is_no_object_is_refused_with_the_reason() {
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
            let refusal = make(json).unwrap_err().to_string();
            assert!(refusal.contains("JSON object"), "{refusal}");
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
        fn every_member_of_any_object_is_a_header(
            members in proptest::collection::vec(("[^\0]{0,8}", json()), 0..8),
        ) {
            let text: Vec<_> = members
                .iter()
                .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())))
                .collect();
            let expected: Vec<_> = members
                .iter()
                .filter(|(name, _)| !OURS.contains(&name.as_str()))
                .map(|(name, value)| pair(name, &value.as_str().map_or(value.to_string(), str::to_owned)))
                .collect();
            prop_assert_eq!(make(format!("{{{}}}", text.join(",")).as_bytes()).unwrap(), expected);
        }

        #[test]
        fn no_bytes_make_it_panic(json in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = make(&json);
        }

        #[test]
        fn nothing_like_json_makes_it_panic(json in r#"[{}\[\]",:\\u0d8-9a-ftruenl .\-+eE]{0,32}"#) {
            let _ = make(json.as_bytes());
        }
    }
}
