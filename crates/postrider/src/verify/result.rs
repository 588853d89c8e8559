//! The result of comparing a row with the record at its position.

use std::fmt;

use kafka_sink::OffsetContent;
use outbox_store::RowToVerify;
use uuid::Uuid;

/// Whether a row's delivery is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The record at its position has its id and its payload.
    Proven,
    /// There is no record at its position.
    Missing(Missing),
    /// Another record is at its position.
    Mismatched(Difference),
    /// The log starts after its position, so the record was deleted.
    Expired {
        /// The first offset of the log.
        start: i64,
    },
}

/// Why there is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The row has no topic, partition or offset.
    NoPlace,
    NoTopic,
    NoPartition,
    BeyondEnd {
        end: i64,
    },
    NoRecord,
}

/// The difference between row and record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// Its id, cut for display; `None` if it has none.
    Id(Option<String>),
    /// Its payload.
    Payload {
        in_row: Option<usize>,
        in_record: Option<usize>,
        /// The first byte that differs.
        first_byte: Option<usize>,
    },
}

/// Compares a row with the record at its position.
pub(crate) fn judge(row: &RowToVerify, at: OffsetContent<'_>) -> Verdict {
    match at {
        OffsetContent::NoTopic => Verdict::Missing(Missing::NoTopic),
        OffsetContent::NoPartition => Verdict::Missing(Missing::NoPartition),
        OffsetContent::BeyondEnd { end } => Verdict::Missing(Missing::BeyondEnd { end }),
        OffsetContent::NoRecord => Verdict::Missing(Missing::NoRecord),
        OffsetContent::BeforeStart { start } => Verdict::Expired { start },
        OffsetContent::Record { id, payload, .. } => match difference(row, id, payload) {
            None => Verdict::Proven,
            Some(difference) => Verdict::Mismatched(difference),
        },
    }
}

fn difference(row: &RowToVerify, id: Option<&[u8]>, payload: Option<&[u8]>) -> Option<Difference> {
    if !id.is_some_and(|id| is_id(row.id, id)) {
        return Some(Difference::Id(id.map(shown)));
    }
    let expected = row.payload.as_deref();
    (expected != payload).then(|| Difference::Payload {
        in_row: expected.map(<[u8]>::len),
        in_record: payload.map(<[u8]>::len),
        first_byte: expected
            .zip(payload)
            .and_then(|(expected, payload)| expected.iter().zip(payload).position(|(a, b)| a != b)),
    })
}

fn is_id(id: Uuid, header: &[u8]) -> bool {
    id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes() == header
}

/// The id header of a foreign record can be anything, of any length.
fn shown(id: &[u8]) -> String {
    const SHOWN_MAX: usize = 64;
    let shown = String::from_utf8_lossy(&id[..id.len().min(SHOWN_MAX)]);
    let shown: String = shown.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if id.len() > SHOWN_MAX { format!("{shown}…") } else { shown }
}

impl Verdict {
    /// In one word.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Verdict::Proven => "proven",
            Verdict::Missing(_) => "missing",
            Verdict::Mismatched(_) => "mismatched",
            Verdict::Expired { .. } => "expired",
        }
    }
}

/// The finding in a few words.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Proven => write!(f, "its record"),
            Verdict::Missing(Missing::NoPlace) => {
                write!(f, "the row has no topic, partition or offset")
            }
            Verdict::Missing(Missing::NoTopic) => write!(f, "there is no such topic"),
            Verdict::Missing(Missing::NoPartition) => write!(f, "the topic has no such partition"),
            Verdict::Missing(Missing::BeyondEnd { end }) => write!(f, "the partition ends at offset {end}"),
            Verdict::Missing(Missing::NoRecord) => write!(f, "there is no record at this offset"),
            Verdict::Expired { start } => write!(f, "the partition begins at offset {start}"),
            Verdict::Mismatched(Difference::Id(None)) => write!(f, "the record has no id"),
            Verdict::Mismatched(Difference::Id(Some(id))) => write!(f, "the record's id is {id}"),
            Verdict::Mismatched(Difference::Payload { in_row, in_record, first_byte }) => {
                match (in_row, in_record) {
                    (None, _) => write!(f, "the row's payload is NULL, the record is no tombstone")?,
                    (_, None) => write!(f, "the record is a tombstone, the row's payload is not NULL")?,
                    (Some(row), Some(record)) if row == record => {
                        write!(f, "payloads of {row} bytes differ")?;
                    }
                    (Some(row), Some(record)) => {
                        write!(f, "the row's payload has {row} bytes, the record's {record}")?;
                    }
                }
                first_byte.map_or(Ok(()), |byte| write!(f, ", the first difference at byte {byte}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use outbox::RecordPosition;
    use outbox::{RecordAtOffset, Status};
    use proptest::prelude::*;

    use super::*;

    fn row(id: u128, payload: Option<&[u8]>) -> RowToVerify {
        RowToVerify {
            id: Uuid::from_u128(id),
            status: Status::Publish,
            place: Some(RecordPosition { topic: "t".into(), partition: 0, offset: 0 }),
            payload: payload.map(Bytes::copy_from_slice),
        }
    }

    fn found(row: &RowToVerify, at: OffsetContent<'_>) -> (&'static str, String) {
        let verdict = judge(row, at);
        (verdict.name(), verdict.to_string())
    }

    #[test]
    fn what_is_not_there_is_missing_and_what_was_deleted_is_expired() {
        let row = row(1, None);
        for (at, name, text) in [
            (OffsetContent::NoTopic, "missing", "there is no such topic"),
            (OffsetContent::NoPartition, "missing", "the topic has no such partition"),
            (OffsetContent::BeyondEnd { end: 7 }, "missing", "the partition ends at offset 7"),
            (OffsetContent::NoRecord, "missing", "there is no record at this offset"),
            (OffsetContent::BeforeStart { start: 9 }, "expired", "the partition begins at offset 9"),
        ] {
            assert_eq!(found(&row, at), (name, text.to_owned()));
        }
    }

    #[test]
    fn a_record_of_another_is_mismatched_with_its_id() {
        let row = row(1, Some(b"{}"));
        let at = |id| OffsetContent::Record { of: RecordAtOffset::Foreign, id, payload: Some(b"{}") };
        let other = Uuid::from_u128(2).to_string();
        assert_eq!(found(&row, at(Some(other.as_bytes()))).1, format!("the record's id is {other}"));
        assert_eq!(found(&row, at(None)), ("mismatched", "the record has no id".to_owned()));
        let odd = [b"\x1b[2J\xff".as_slice(), &[b'x'; 100]].concat();
        let (_, text) = found(&row, at(Some(&odd)));
        assert!(!text.contains('\x1b') && text.ends_with('…') && text.len() < 110, "{text}");
    }

    #[test]
    fn a_null_payload_is_a_tombstone_and_an_empty_one_is_not() {
        let id = Uuid::from_u128(1).to_string();
        let at =
            |payload| OffsetContent::Record { of: RecordAtOffset::Foreign, id: Some(id.as_bytes()), payload };
        assert_eq!(judge(&row(1, None), at(None)), Verdict::Proven);
        assert_eq!(judge(&row(1, Some(b"")), at(Some(b""))), Verdict::Proven);
        assert!(found(&row(1, None), at(Some(b""))).1.contains("is NULL"));
        assert!(found(&row(1, Some(b"")), at(None)).1.contains("is a tombstone"));
        let different = found(&row(1, Some(b"abc")), at(Some(b"abd"))).1;
        assert_eq!(different, "payloads of 3 bytes differ, the first difference at byte 2");
        let longer = found(&row(1, Some(b"abc")), at(Some(b"abcd"))).1;
        assert_eq!(longer, "the row's payload has 3 bytes, the record's 4");
    }

    proptest! {
        #[test]
        fn only_the_very_same_bytes_are_proof(
            id in 0u128..2, other in 0u128..2,
            payload in proptest::option::of(proptest::collection::vec(0u8..2, 0..3)),
            record in proptest::option::of(proptest::collection::vec(0u8..2, 0..3)),
        ) {
            let header = Uuid::from_u128(other).to_string();
            let at = OffsetContent::Record { of: RecordAtOffset::Foreign, id: Some(header.as_bytes()), payload: record.as_deref() };
            let verdict = judge(&row(id, payload.as_deref()), at);
            prop_assert_eq!(verdict == Verdict::Proven, id == other && payload == record);
        }
    }
}
