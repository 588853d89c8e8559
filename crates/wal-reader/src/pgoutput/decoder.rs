use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::byte_reader::ByteReader;
use crate::decode_error::DecodeError;
use crate::pgoutput::change::{Change, OtherKind};
use crate::pgoutput::relation::{Column, Relation};
use crate::pgoutput::tuple::Tuple;
use crate::pgoutput::tuple::TupleData;

/// The flags, type and modifier of a column, and an empty name with its terminator.
const COLUMN_BYTES_MIN: usize = 1 + 1 + 4 + 4;

/// Decodes pgoutput messages into [`Change`]s and keeps the relations they refer to.
///
/// The server describes a relation once per session, so every stream needs a new decoder. A new description
/// replaces the previous one; rows that were already decoded keep theirs.
#[derive(Debug, Default)]
pub struct Decoder {
    relations: HashMap<u32, Arc<Relation>>,
    /// The relation of the previous row: consecutive rows mostly belong to the same table.
    last: Option<Arc<Relation>>,
}

impl Decoder {
    /// A decoder for a new session, without relations.
    pub fn new() -> Self {
        Decoder::default()
    }

    /// Decodes the contents of one [`Frame::XLogData`](crate::Frame::XLogData).
    ///
    /// # Errors
    /// A malformed message, a row of a relation without a description, or a row whose column count differs from
    /// the description. The position counts from the start of `data`.
    pub fn decode(&mut self, data: Bytes) -> Result<Change, DecodeError> {
        if u32::try_from(data.len()).is_err() {
            return Err(DecodeError::new(0, format!("a message of {} bytes is too large", data.len())));
        }
        let mut reader = ByteReader::new(&data, 0);
        let change = match reader.u8("a message")? {
            b'I' => {
                let (relation, fields) = self.insert(&mut reader)?;
                reader.end("an Insert")?;
                return Ok(Change::Insert { relation, new: Tuple::new(data, fields) });
            }
            b'B' => Change::Begin {
                final_lsn: reader.lsn("a Begin final LSN")?,
                committed_at_us: reader.i64("a Begin commit time")?,
                xid: reader.u32("a Begin transaction ID")?,
            },
            b'C' => {
                reader.u8("Commit flags")?;
                Change::Commit {
                    commit_lsn: reader.lsn("a Commit LSN")?,
                    end_lsn: reader.lsn("a Commit end LSN")?,
                    committed_at_us: reader.i64("a Commit time")?,
                }
            }
            b'R' => {
                let relation = Arc::new(read_relation(&mut reader)?);
                reader.end("a Relation")?;
                self.relations.insert(relation.oid, Arc::clone(&relation));
                self.last = None;
                return Ok(Change::Relation(relation));
            }
            tag => Change::Other(read_ignored(tag, &mut reader)?),
        };
        reader.end("the message")?;
        Ok(change)
    }

    #[inline]
    fn insert(&mut self, reader: &mut ByteReader<'_>) -> Result<(Arc<Relation>, TupleData), DecodeError> {
        let at = reader.at();
        let oid = reader.u32("an Insert relation")?;
        let relation = match &self.last {
            Some(last) if last.oid == oid => Arc::clone(last),
            _ => {
                let Some(known) = self.relations.get(&oid) else {
                    return Err(
                        reader.error_at(at, format!("a row of relation {oid}, which has no description"))
                    );
                };
                self.last = Some(Arc::clone(known));
                Arc::clone(known)
            }
        };
        expect(reader, b'N', "an Insert row")?;
        let at = reader.at();
        let fields = TupleData::read(reader)?;
        if fields.len() != relation.columns.len() {
            let what = format!(
                "a row with {} columns of {}.{}, whose description has {}",
                fields.len(),
                relation.namespace,
                relation.name,
                relation.columns.len()
            );
            return Err(reader.error_at(at, what));
        }
        Ok((relation, fields))
    }
}

fn read_relation(reader: &mut ByteReader<'_>) -> Result<Relation, DecodeError> {
    let oid = reader.u32("a Relation OID")?;
    let namespace = reader.string("a Relation schema")?.to_owned();
    let name = reader.string("a Relation name")?.to_owned();
    let replica_identity = reader.u8("a Relation replica identity")?;
    let count = reader.count_16("a Relation column count")?;
    let mut columns = Vec::with_capacity(count.min(reader.remaining() / COLUMN_BYTES_MIN));
    for _ in 0..count {
        let flags = reader.u8("column flags")?;
        columns.push(Column {
            part_of_key: flags & 1 != 0,
            name: reader.string("a column name")?.to_owned(),
            type_oid: reader.u32("a column type")?,
            type_modifier: reader.i32("a column type modifier")?,
        });
    }
    Ok(Relation { oid, namespace, name, replica_identity, columns })
}

fn read_ignored(tag: u8, reader: &mut ByteReader<'_>) -> Result<OtherKind, DecodeError> {
    match tag {
        b'O' => {
            reader.lsn("an Origin LSN")?;
            reader.string("an Origin name")?;
            Ok(OtherKind::Origin)
        }
        b'Y' => {
            reader.u32("a Type OID")?;
            reader.string("a Type schema")?;
            reader.string("a Type name")?;
            Ok(OtherKind::Type)
        }
        b'U' => {
            reader.u32("an Update relation")?;
            let at = reader.at();
            match reader.u8("an Update row")? {
                b'N' => {}
                b'K' | b'O' => {
                    TupleData::read(reader)?;
                    expect(reader, b'N', "an Update new row")?;
                }
                other => return Err(unknown_row(reader, at, other)),
            }
            TupleData::read(reader)?;
            Ok(OtherKind::Update)
        }
        b'D' => {
            reader.u32("a Delete relation")?;
            let at = reader.at();
            match reader.u8("a Delete row")? {
                b'K' | b'O' => TupleData::read(reader)?,
                other => return Err(unknown_row(reader, at, other)),
            };
            Ok(OtherKind::Delete)
        }
        b'T' => {
            let count = reader.count_32("a Truncate relation count")?;
            reader.u8("Truncate options")?;
            for _ in 0..count {
                reader.u32("a Truncate relation")?;
            }
            Ok(OtherKind::Truncate)
        }
        other => Err(reader.error_at(0, format!("unknown message type {:?}", char::from(other)))),
    }
}

fn expect(reader: &mut ByteReader<'_>, expected: u8, what: &'static str) -> Result<(), DecodeError> {
    let at = reader.at();
    match reader.u8(what)? {
        found if found == expected => Ok(()),
        found => Err(unknown_row(reader, at, found)),
    }
}

fn unknown_row(reader: &ByteReader<'_>, at: usize, found: u8) -> DecodeError {
    reader.error_at(at, format!("unknown row kind {:?}", char::from(found)))
}
