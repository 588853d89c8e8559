use bytes::Bytes;
use outbox::{Columns, Event, Status};
use uuid::Uuid;

use crate::pgoutput::change::Change;
use crate::pgoutput::decoder::Decoder;
use crate::pgoutput::relation::{Column, Relation};
use crate::pgoutput::tuple::Tuple;
use crate::row_layout::RowLayout;
use crate::row_layout::error::UnreadableRow;

const TEXT: u32 = 25;
const INT8: u32 = 20;
const TIMESTAMPTZ: u32 = 1184;
const UUID: u32 = 2950;
const JSONB: u32 = 3802;
const BYTEA: u32 = 17;

/// An inserted row in binary format, encoded as pgoutput does and decoded.
fn inserted(columns: &[(&str, u32, Option<&[u8]>)]) -> (Relation, Tuple) {
    let mut relation = vec![b'R', 0, 0, 0, 7];
    relation.extend(b"public\0outbox\0d");
    relation.extend(u16::try_from(columns.len()).expect("few").to_be_bytes());
    let mut insert = vec![b'I', 0, 0, 0, 7, b'N'];
    insert.extend(u16::try_from(columns.len()).expect("few").to_be_bytes());
    for (name, type_oid, value) in columns {
        relation.push(0);
        relation.extend(name.bytes().chain([0]));
        relation.extend(type_oid.to_be_bytes());
        relation.extend((-1_i32).to_be_bytes());
        match value {
            None => insert.push(b'n'),
            Some(value) => {
                insert.push(b'b');
                insert.extend(u32::try_from(value.len()).expect("short").to_be_bytes());
                insert.extend(*value);
            }
        }
    }
    let mut decoder = Decoder::default();
    decoder.decode(relation.into()).expect("a relation");
    match decoder.decode(insert.into()).expect("an insert") {
        Change::Insert { relation, new } => (Relation::clone(&relation), new),
        other => panic!("{other:?}"),
    }
}

fn event(columns: &[(&str, u32, Option<&[u8]>)], others: &[&str]) -> Result<Event, UnreadableRow> {
    let (relation, tuple) = inserted(columns);
    let others = others.iter().map(|name| (*name).to_owned()).collect();
    let layout = RowLayout::new(&relation, &Columns { others, ..Columns::default() }).expect("an outbox");
    layout.event(&tuple, 1)
}

const ID: [u8; 16] = [7; 16];

#[test]
fn event_reads_every_field_by_column_name_and_type() {
    let event = event(
        &[
            ("tenant", INT8, Some(&[255, 255, 255, 255, 255, 255, 255, 254])),
            ("payload", JSONB, Some(b"\x01{\"a\": 1}")),
            ("created_at", TIMESTAMPTZ, Some(&[0, 0, 0, 0, 0, 0, 0, 5])),
            ("id", UUID, Some(&ID)),
            ("aggregate_id", UUID, Some(&ID)),
            ("aggregate_type", 99_999, Some(b"order")),
            ("headers", JSONB, None),
        ],
        &["tenant"],
    )
    .expect("an event");
    assert_eq!(event.id, Uuid::from_bytes(ID));
    assert_eq!(event.payload.as_deref(), Some(&b"{\"a\": 1}"[..]));
    assert_eq!(event.created_at_us, Some(946_684_800_000_005));
    assert_eq!(event.aggregate_id.as_deref(), Some(&b"07070707-0707-0707-0707-070707070707"[..]));
    assert_eq!(event.aggregate_type.as_deref(), Some(&b"order"[..]), "the label of an enum");
    assert_eq!((event.headers, event.topic), (None, None));
    assert_eq!(event.others, [Some(Bytes::from_static(b"-2"))]);
}

#[test]
fn event_ignores_unknown_states() {
    let status = |value: &[u8]| {
        let columns = [("id", UUID, Some(&ID[..])), ("payload", TEXT, None), ("status", TEXT, Some(value))];
        event(&columns, &[]).expect("an event").status
    };
    assert_eq!(status(b"COMPLETE"), Some(Status::Complete));
    assert_eq!(status(b"new"), None);
}

#[test]
fn event_keeps_bytes_and_distinguishes_empty_from_null() {
    let payload = |type_oid, value| {
        event(&[("id", UUID, Some(&ID)), ("payload", type_oid, value)], &[]).expect("an event").payload
    };
    assert_eq!(payload(BYTEA, Some(b"\x00\xff")).as_deref(), Some(&b"\x00\xff"[..]));
    assert_eq!(payload(TEXT, Some(b"")).as_deref(), Some(&b""[..]));
    assert_eq!(payload(TEXT, None), None);
}

#[test]
fn event_has_no_created_at_for_infinity() {
    let infinity = i64::MAX.to_be_bytes();
    let columns = [
        ("id", UUID, Some(&ID[..])),
        ("payload", TEXT, None),
        ("created_at", TIMESTAMPTZ, Some(&infinity[..])),
    ];
    assert_eq!(event(&columns, &[]).expect("an event").created_at_us, None);
}

#[test]
fn unreadable_row_has_the_id_and_the_column() {
    let columns = [("id", UUID, Some(&ID[..])), ("payload", JSONB, Some(&b"\x02{}"[..]))];
    let error = event(&columns, &[]).expect_err("the jsonb version is unknown");
    assert_eq!(error.id, Some(Uuid::from_bytes(ID)));
    assert!(error.to_string().contains("payload"), "{error}");
}

#[test]
fn row_layout_errors_have_the_column_and_the_accepted_types() {
    let column = |name: &str, type_oid| Column {
        name: name.to_owned(),
        type_oid,
        type_modifier: -1,
        part_of_key: false,
    };
    let error = |columns: Vec<Column>| {
        let relation = Relation {
            oid: 7,
            namespace: "public".to_owned(),
            name: "outbox".to_owned(),
            replica_identity: b'd',
            columns,
        };
        RowLayout::new(&relation, &Columns::default())
            .expect_err("the relation is not an outbox table")
            .to_string()
    };
    assert!(error(vec![column("id", UUID)]).contains("'payload'"));
    assert!(error(vec![column("id", INT8), column("payload", JSONB)]).contains("'id'"));
    assert!(error(vec![column("id", UUID), column("payload", INT8)]).contains("jsonb, json, text"));
}
