//! An encoder for pgoutput messages, and strategies that generate them.

use proptest::collection::vec;
use proptest::prelude::*;
use wal_reader::{Column, Relation, Value};

/// Every message a server may send, before it is encoded.
#[derive(Clone, Debug)]
pub(crate) enum PgoutputMessage {
    Begin { final_lsn: u64, at_us: i64, xid: u32 },
    Commit { commit_lsn: u64, end_lsn: u64, at_us: i64 },
    Relation(Relation),
    Insert { oid: u32, new: RowValues },
    Origin { lsn: u64, name: String },
    Type { oid: u32, namespace: String, name: String },
    Update { oid: u32, old: Option<(u8, RowValues)>, new: RowValues },
    Delete { oid: u32, old: (u8, RowValues) },
    Truncate { options: u8, oids: Vec<u32> },
}

pub(crate) type RowValues = Vec<Value<Vec<u8>>>;

impl PgoutputMessage {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            PgoutputMessage::Begin { final_lsn, at_us, xid } => {
                out.push(b'B');
                out.extend(final_lsn.to_be_bytes());
                out.extend(at_us.to_be_bytes());
                out.extend(xid.to_be_bytes());
            }
            PgoutputMessage::Commit { commit_lsn, end_lsn, at_us } => {
                out.extend(b"C\0");
                out.extend(commit_lsn.to_be_bytes());
                out.extend(end_lsn.to_be_bytes());
                out.extend(at_us.to_be_bytes());
            }
            PgoutputMessage::Relation(relation) => {
                out.push(b'R');
                out.extend(relation.oid.to_be_bytes());
                string(&mut out, &relation.namespace);
                string(&mut out, &relation.name);
                out.push(relation.replica_identity);
                out.extend((relation.columns.len() as u16).to_be_bytes());
                for column in &relation.columns {
                    out.push(u8::from(column.part_of_key));
                    string(&mut out, &column.name);
                    out.extend(column.type_oid.to_be_bytes());
                    out.extend(column.type_modifier.to_be_bytes());
                }
            }
            PgoutputMessage::Insert { oid, new } => {
                out.push(b'I');
                out.extend(oid.to_be_bytes());
                row(&mut out, b'N', new);
            }
            PgoutputMessage::Origin { lsn, name } => {
                out.push(b'O');
                out.extend(lsn.to_be_bytes());
                string(&mut out, name);
            }
            PgoutputMessage::Type { oid, namespace, name } => {
                out.push(b'Y');
                out.extend(oid.to_be_bytes());
                string(&mut out, namespace);
                string(&mut out, name);
            }
            PgoutputMessage::Update { oid, old, new } => {
                out.push(b'U');
                out.extend(oid.to_be_bytes());
                if let Some((kind, old)) = old {
                    row(&mut out, *kind, old);
                }
                row(&mut out, b'N', new);
            }
            PgoutputMessage::Delete { oid, old: (kind, old) } => {
                out.push(b'D');
                out.extend(oid.to_be_bytes());
                row(&mut out, *kind, old);
            }
            PgoutputMessage::Truncate { options, oids } => {
                out.push(b'T');
                out.extend((oids.len() as u32).to_be_bytes());
                out.push(*options);
                oids.iter().for_each(|oid| out.extend(oid.to_be_bytes()));
            }
        }
        out
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend(text.as_bytes());
    out.push(0);
}

fn row(out: &mut Vec<u8>, kind: u8, values: &RowValues) {
    out.push(kind);
    out.extend((values.len() as u16).to_be_bytes());
    for value in values {
        let (kind, bytes) = match value {
            Value::Null => (b'n', None),
            Value::Unchanged => (b'u', None),
            Value::Text(bytes) => (b't', Some(bytes)),
            Value::Binary(bytes) => (b'b', Some(bytes)),
        };
        out.push(kind);
        if let Some(bytes) = bytes {
            out.extend((bytes.len() as u32).to_be_bytes());
            out.extend(bytes);
        }
    }
}

/// A string without zero bytes.
fn name() -> impl Strategy<Value = String> {
    "[^\\x00]{0,12}"
}

pub(crate) fn value() -> impl Strategy<Value = Value<Vec<u8>>> {
    let bytes = || vec(any::<u8>(), 0..40);
    prop_oneof![
        Just(Value::Null),
        Just(Value::Unchanged),
        bytes().prop_map(Value::Text),
        bytes().prop_map(Value::Binary)
    ]
}

fn rows() -> impl Strategy<Value = RowValues> {
    vec(value(), 0..6)
}

pub(crate) fn relation(oid: impl Strategy<Value = u32>) -> impl Strategy<Value = Relation> {
    let column = (name(), any::<u32>(), any::<i32>(), any::<bool>()).prop_map(
        |(name, type_oid, type_modifier, part_of_key)| Column { name, type_oid, type_modifier, part_of_key },
    );
    (oid, name(), name(), any::<u8>(), vec(column, 0..6)).prop_map(
        |(oid, namespace, name, replica_identity, columns)| Relation {
            oid,
            namespace,
            name,
            replica_identity,
            columns,
        },
    )
}

/// Any message; with few OIDs, so that rows often refer to a relation described before.
pub(crate) fn message() -> impl Strategy<Value = PgoutputMessage> {
    let oid = || 1_u32..4;
    let old = || (prop_oneof![Just(b'K'), Just(b'O')], rows());
    prop_oneof![
        (any::<u64>(), any::<i64>(), any::<u32>())
            .prop_map(|(final_lsn, at_us, xid)| PgoutputMessage::Begin { final_lsn, at_us, xid }),
        (any::<u64>(), any::<u64>(), any::<i64>())
            .prop_map(|(commit_lsn, end_lsn, at_us)| PgoutputMessage::Commit { commit_lsn, end_lsn, at_us }),
        relation(oid()).prop_map(PgoutputMessage::Relation),
        (oid(), rows()).prop_map(|(oid, new)| PgoutputMessage::Insert { oid, new }),
        (any::<u64>(), name()).prop_map(|(lsn, name)| PgoutputMessage::Origin { lsn, name }),
        (oid(), name(), name()).prop_map(|(oid, namespace, name)| PgoutputMessage::Type {
            oid,
            namespace,
            name
        }),
        (oid(), proptest::option::of(old()), rows()).prop_map(|(oid, old, new)| PgoutputMessage::Update {
            oid,
            old,
            new
        }),
        (oid(), old()).prop_map(|(oid, old)| PgoutputMessage::Delete { oid, old }),
        (any::<u8>(), vec(oid(), 0..4))
            .prop_map(|(options, oids)| PgoutputMessage::Truncate { options, oids }),
    ]
}
