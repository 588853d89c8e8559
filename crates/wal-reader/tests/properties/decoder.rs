use std::collections::HashMap;

use bytes::Bytes;
use outbox::Lsn;
use proptest::collection::vec;
use proptest::prelude::*;
use wal_reader::{Change, Decoder, OtherKind, Relation, Tuple, Value};

use crate::encode::{PgoutputMessage, RowValues, message, relation, value};

/// Whether `change` is the correct decoding of a message, given the relations known so far; `None` is an error.
fn is_decoding_of(
    message: &PgoutputMessage,
    change: Option<Change>,
    known: &mut HashMap<u32, Relation>,
) -> bool {
    match (message, change) {
        (PgoutputMessage::Begin { final_lsn, at_us, xid }, Some(change)) => {
            let final_lsn = Lsn::from_u64(*final_lsn);
            change == Change::Begin { final_lsn, committed_at_us: *at_us, xid: *xid }
        }
        (PgoutputMessage::Commit { commit_lsn, end_lsn, at_us }, Some(change)) => {
            let (commit_lsn, end_lsn) = (Lsn::from_u64(*commit_lsn), Lsn::from_u64(*end_lsn));
            change == Change::Commit { commit_lsn, end_lsn, committed_at_us: *at_us }
        }
        (PgoutputMessage::Relation(relation), Some(Change::Relation(found))) => {
            known.insert(relation.oid, relation.clone());
            *relation == *found
        }
        (PgoutputMessage::Insert { oid, new }, change) => match known
            .get(oid)
            .filter(|known| known.columns.len() == new.len())
        {
            None => change.is_none(),
            Some(known) => match change {
                Some(Change::Insert { relation, new: found }) => *relation == *known && same_row(&found, new),
                _ => false,
            },
        },
        (PgoutputMessage::Origin { .. }, Some(change)) => change == Change::Other(OtherKind::Origin),
        (PgoutputMessage::Type { .. }, Some(change)) => change == Change::Other(OtherKind::Type),
        (PgoutputMessage::Update { .. }, Some(change)) => change == Change::Other(OtherKind::Update),
        (PgoutputMessage::Delete { .. }, Some(change)) => change == Change::Other(OtherKind::Delete),
        (PgoutputMessage::Truncate { .. }, Some(change)) => change == Change::Other(OtherKind::Truncate),
        _ => false,
    }
}

fn same_row(found: &Tuple, expected: &RowValues) -> bool {
    let same = |(index, expected): (usize, &Value<Vec<u8>>)| {
        let owned = match expected {
            Value::Null => Value::Null,
            Value::Unchanged => Value::Unchanged,
            Value::Text(bytes) => Value::Text(Bytes::copy_from_slice(bytes)),
            Value::Binary(bytes) => Value::Binary(Bytes::copy_from_slice(bytes)),
        };
        let peeked = match found.peek(index) {
            Some(Value::Text(bytes)) => Some(Value::Text(Bytes::copy_from_slice(bytes))),
            Some(Value::Binary(bytes)) => Some(Value::Binary(Bytes::copy_from_slice(bytes))),
            Some(Value::Null) => Some(Value::Null),
            Some(Value::Unchanged) => Some(Value::Unchanged),
            None => None,
        };
        peeked.as_ref() == Some(&owned) && found.get(index) == Some(owned)
    };
    found.len() == expected.len()
        && found.get(expected.len()).is_none()
        && expected.iter().enumerate().all(same)
}

/// A relation and a row with its number of columns.
fn relation_and_row() -> impl Strategy<Value = (Relation, RowValues)> {
    relation(Just(7)).prop_flat_map(|relation| {
        let columns = relation.columns.len();
        (Just(relation), vec(value(), columns))
    })
}

proptest! {
    #[test]
    fn decode_inverts_encode_for_any_history(history in vec(message(), 0..40)) {
        let mut decoder = Decoder::new();
        let mut known = HashMap::new();
        for message in &history {
            let change = decoder.decode(message.encode().into()).ok();
            prop_assert!(is_decoding_of(message, change.clone(), &mut known), "{message:?} was decoded as {change:?}");
        }
    }

    #[test]
    fn decode_returns_the_values_of_an_insert((relation, row) in relation_and_row()) {
        let mut decoder = Decoder::new();
        decoder.decode(PgoutputMessage::Relation(relation.clone()).encode().into())?;
        let insert = PgoutputMessage::Insert { oid: relation.oid, new: row.clone() };
        match decoder.decode(insert.encode().into())? {
            Change::Insert { relation: of, new } => {
                prop_assert_eq!(&*of, &relation);
                prop_assert!(same_row(&new, &row));
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn decode_rejects_truncated_messages_and_trailing_bytes(
        (relation, row) in relation_and_row(), message in message(), more in 1_usize..4,
    ) {
        let mut decoder = Decoder::new();
        decoder.decode(PgoutputMessage::Relation(relation.clone()).encode().into())?;
        for message in [message, PgoutputMessage::Insert { oid: relation.oid, new: row }] {
            let mut bytes = message.encode();
            let whole = Bytes::from(bytes.clone());
            for cut in 0..whole.len() {
                let error = decoder.decode(whole.slice(..cut)).expect_err("the message is truncated");
                prop_assert!(error.position() <= cut as u64, "{error} in {cut} bytes");
            }
            bytes.resize(whole.len() + more, 0);
            prop_assert!(decoder.decode(bytes.into()).is_err());
        }
    }

    #[test]
    fn decode_returns_error_positions_within_any_bytes(
        relation in relation(1_u32..4), tag in any::<u8>(), bytes in vec(any::<u8>(), 0..200),
    ) {
        let mut decoder = Decoder::new();
        decoder.decode(PgoutputMessage::Relation(relation).encode().into())?;
        let tags = b"BCRIMOYUDT";
        for first in [tag, tags[usize::from(tag) % tags.len()]] {
            let message: Bytes = [first].iter().chain(&bytes).copied().collect();
            let length = message.len() as u64;
            if let Err(error) = decoder.decode(message) {
                prop_assert!(error.position() <= length, "{error} in {length} bytes");
            }
        }
    }

    #[test]
    fn decode_never_panics_on_corrupted_messages(
        history in vec((message(), vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)), 0..20),
    ) {
        let mut decoder = Decoder::new();
        for (message, changes) in history {
            let mut bytes = message.encode();
            for (index, byte) in changes {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            let length = bytes.len() as u64;
            if let Err(error) = decoder.decode(bytes.into()) {
                prop_assert!(error.position() <= length, "{error} in {length} bytes");
            }
        }
    }
}

#[test]
fn decode_rejects_a_row_without_relation_at_its_oid() {
    let insert = PgoutputMessage::Insert { oid: 9, new: vec![Value::Null] };
    let error = Decoder::new().decode(insert.encode().into()).expect_err("the relation is unknown");
    assert_eq!(error.position(), 1);
    assert!(error.what().contains("relation 9"), "{error}");
}

#[test]
fn tuple_values_are_slices_of_the_message() {
    let mut decoder = Decoder::new();
    let column =
        wal_reader::Column { name: "c".to_owned(), type_oid: 17, type_modifier: -1, part_of_key: false };
    let relation = Relation {
        oid: 1,
        namespace: String::new(),
        name: "t".to_owned(),
        replica_identity: b'd',
        columns: vec![column],
    };
    decoder.decode(PgoutputMessage::Relation(relation).encode().into()).expect("a relation");
    let message =
        Bytes::from(PgoutputMessage::Insert { oid: 1, new: vec![Value::Binary(vec![7; 100])] }.encode());
    let memory = message.as_ptr_range();
    let Ok(Change::Insert { new, .. }) = decoder.decode(message) else { panic!("an insert") };
    let Some(Value::Binary(value)) = new.get(0) else { panic!("a value") };
    assert!(memory.contains(&value.as_ptr()));
}

#[test]
fn decode_rejects_counts_beyond_the_message_without_reserving_memory() {
    let mut decoder = Decoder::new();
    let mut relation = b"R\0\0\0\x01n\0t\0d".to_vec();
    relation.extend(i16::MAX.to_be_bytes());
    let mut truncate = b"T".to_vec();
    truncate.extend(i32::MAX.to_be_bytes());
    truncate.push(0);
    let mut delete = b"D\0\0\0\x01K\0\x01t".to_vec();
    delete.extend(i32::MAX.to_be_bytes());
    for bytes in [relation, truncate, delete] {
        let error = decoder.decode(bytes.into()).expect_err("the message is truncated");
        assert!(error.what().contains("left"), "{error}");
    }
    for negative in [
        b"T\xFF\xFF\xFF\xFF\0".to_vec(),
        b"D\0\0\0\x01K\xFF\xFF".to_vec(),
        b"D\0\0\0\x01K\0\x01t\xFF\xFF\xFF\xFF".to_vec(),
    ] {
        let error = decoder.decode(negative.into()).expect_err("the count is negative");
        assert!(error.what().contains("is -1"), "{error}");
    }
}

#[test]
fn decode_rejects_invalid_utf_8_at_its_position() {
    let error = Decoder::new()
        .decode(Bytes::from_static(b"R\0\0\0\x01ab\xFF\0t\0d\0\0"))
        .expect_err("the name is not UTF-8");
    assert_eq!(error.position(), 7);
}
