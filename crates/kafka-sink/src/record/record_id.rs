//! The row of a consumed record, from its headers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::message::{Headers as _, Message};
use uuid::Uuid;

/// The headers of a record that Postrider published for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordId {
    pub(crate) id: Uuid,
    /// Whether a replay request sent it: `postrider-replay` is a request's id.
    pub(crate) by_request: bool,
}

impl RecordId {
    /// `None` for a record of no row: without a valid `id`, or a dead letter.
    pub(crate) fn of(message: &impl Message) -> Option<Self> {
        let headers = message.headers()?;
        let read = || RecordId::read(headers.iter().map(|header| (header.key, header.value)));
        // rdkafka panics at a header name that is not UTF-8. Any producer can write one; the record is not
        // Postrider's.
        catch_unwind(AssertUnwindSafe(read)).ok().flatten()
    }

    fn read<'h>(headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)>) -> Option<Self> {
        let (mut id, mut replay) = (None, None);
        for (name, value) in headers {
            match name {
                "id" if id.is_none() => id = Some(value),
                "postrider-replay" if replay.is_none() => replay = Some(value),
                "postrider-error" => return None,
                _ => {}
            }
        }
        let uuid = |value: Option<&[u8]>| value.and_then(|text| Uuid::try_parse_ascii(text).ok());
        Some(RecordId { id: uuid(id?)?, by_request: replay.is_some_and(|value| uuid(value).is_some()) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0190b0a5-0000-7000-8000-000000000001";
    const REQUEST: &str = "0190b0a5-0000-7000-8000-000000000002";

    fn read(headers: &[(&str, Option<&str>)]) -> Option<RecordId> {
        RecordId::read(headers.iter().map(|(name, value)| (*name, value.map(str::as_bytes))))
    }

    #[test]
    fn record_id_is_the_first_id_and_a_request_is_a_uuid() {
        let id: Uuid = ID.parse().unwrap();
        let plain = Some(RecordId { id, by_request: false });
        assert_eq!(read(&[("event_type", Some("x")), ("id", Some(ID)), ("id", Some(REQUEST))]), plain);
        assert_eq!(read(&[("id", Some(ID)), ("postrider-replay", Some("reconciler"))]), plain);
        assert_eq!(read(&[("id", Some(ID)), ("postrider-replay", None)]), plain);
        let requested = Some(RecordId { id, by_request: true });
        assert_eq!(read(&[("postrider-replay", Some(REQUEST)), ("id", Some(ID))]), requested);
    }

    #[test]
    fn record_id_of_foreign_records_and_dead_letters_is_none() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[("id", None)]), None);
        assert_eq!(read(&[("id", Some("17"))]), None);
        assert_eq!(read(&[("id", Some("x")), ("id", Some(ID))]), None);
        assert_eq!(read(&[("ID", Some(ID))]), None);
        assert_eq!(read(&[("id", Some(ID)), ("postrider-error", Some("too large"))]), None);
    }

    proptest! {
        #[test]
        fn record_id_accepts_any_bytes(
            name in "(id|postrider-replay|other)",
            value in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let read = RecordId::read([(&*name, Some(&*value))].into_iter());
            prop_assert!(read.is_none() || name == "id");
        }
    }
}
