use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::byte_reader::ByteReader;
use crate::decode_error::DecodeError;
use crate::pgoutput::change::{Change, OtherKind};
use crate::pgoutput::relation::{Column, Relation};
use crate::pgoutput::tuple::Tuple;
use crate::pgoutput::tuple::TupleData;

/// A column's flag byte, type and modifier, and the shortest name: none and its terminator.
const COLUMN_BYTES_MIN: usize = 1 + 1 + 4 + 4;

/// Makes [`Change`]s of pgoutput messages and remembers the relations they refer to.
///
/// The server describes a relation once per session, so a stream and its decoder live and die together. A new
/// description replaces the old one; rows already decoded keep theirs.
#[derive(Debug, Default)]
pub struct Decoder {
    relations: HashMap<u32, Arc<Relation>>,
    /// Rows come in runs of the same table, so most look-ups end here.
    last: Option<Arc<Relation>>,
}

impl Decoder {
    /// No relation known yet.
    pub fn new() -> Self {
        Decoder::default()
    }

    /// Decodes the contents of one [`Frame::XLogData`](crate::Frame::XLogData).
    ///
    /// # Errors
    /// Bytes that are no message, a row of a relation that was never described or with another number of
    /// columns than it was described with; the position counts from the start of `data`.
    pub fn decode(&mut self, data: Bytes) -> Result<Change, DecodeError> {
        if u32::try_from(data.len()).is_err() {
            return Err(DecodeError::new(0, format!("{} bytes are too many for a message", data.len())));
        }
        let mut reader = ByteReader::new(&data, 0);
        let change = match reader.u8("a message")? {
            b'I' => {
                let (relation, fields) = self.insert(&mut reader)?;
                reader.end("an Insert")?;
                return Ok(Change::Insert { relation, new: Tuple::new(data, fields) });
            }
            b'B' => Change::Begin {
                final_lsn: reader.lsn("a Begin's final LSN")?,
                committed_at_us: reader.i64("a Begin's commit time")?,
                xid: reader.u32("a Begin's transaction id")?,
            },
            b'C' => {
                reader.u8("a Commit's flags")?;
                Change::Commit {
                    commit_lsn: reader.lsn("a Commit's LSN")?,
                    end_lsn: reader.lsn("a Commit's end LSN")?,
                    committed_at_us: reader.i64("a Commit's time")?,
                }
            }
            b'R' => {
                let relation = Arc::new(read_relation(&mut reader)?);
                reader.end("a Relation")?;
                self.relations.insert(relation.oid, Arc::clone(&relation));
                self.last = None;
                return Ok(Change::Relation(relation));
            }
            b'M' => {
                let at = reader.at();
                let flags = reader.u8("a Message's flags")?;
                if flags > 1 {
                    return Err(reader.error_at(at, format!("unknown flags {flags} of a Message")));
                }
                let lsn = reader.lsn("a Message's LSN")?;
                let prefix = reader.string_range("a Message's prefix")?;
                let length = reader.count_32("a Message's length")?;
                let content = reader.take(length, "a Message's content")?;
                reader.end("a Message")?;
                return Ok(Change::Message {
                    transactional: flags == 1,
                    lsn,
                    prefix: data.slice(prefix),
                    content: data.slice(content),
                });
            }
            tag => Change::Other(pass_over(tag, &mut reader)?),
        };
        reader.end("the message")?;
        Ok(change)
    }

    #[inline]
    fn insert(&mut self, reader: &mut ByteReader<'_>) -> Result<(Arc<Relation>, TupleData), DecodeError> {
        let at = reader.at();
        let oid = reader.u32("an Insert's relation")?;
        let relation = match &self.last {
            Some(last) if last.oid == oid => Arc::clone(last),
            _ => {
                let Some(known) = self.relations.get(&oid) else {
                    return Err(
                        reader.error_at(at, format!("a row of relation {oid}, which was never described"))
                    );
                };
                self.last = Some(Arc::clone(known));
                Arc::clone(known)
            }
        };
        expect(reader, b'N', "an Insert's row")?;
        let at = reader.at();
        let fields = TupleData::read(reader)?;
        if fields.len() != relation.columns.len() {
            let what = format!(
                "a row with {} columns of {}.{}, which was described with {}",
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
    let oid = reader.u32("a Relation's oid")?;
    let namespace = reader.string("a Relation's schema")?.to_owned();
    let name = reader.string("a Relation's name")?.to_owned();
    let replica_identity = reader.u8("a Relation's replica identity")?;
    let count = reader.count_16("a Relation's column count")?;
    let mut columns = Vec::with_capacity(count.min(reader.remaining() / COLUMN_BYTES_MIN));
    for _ in 0..count {
        let flags = reader.u8("a column's flags")?;
        columns.push(Column {
            part_of_key: flags & 1 != 0,
            name: reader.string("a column's name")?.to_owned(),
            type_oid: reader.u32("a column's type")?,
            type_modifier: reader.i32("a column's type modifier")?,
        });
    }
    Ok(Relation { oid, namespace, name, replica_identity, columns })
}

fn pass_over(tag: u8, reader: &mut ByteReader<'_>) -> Result<OtherKind, DecodeError> {
    match tag {
        b'O' => {
            reader.lsn("an Origin's LSN")?;
            reader.string("an Origin's name")?;
            Ok(OtherKind::Origin)
        }
        b'Y' => {
            reader.u32("a Type's oid")?;
            reader.string("a Type's schema")?;
            reader.string("a Type's name")?;
            Ok(OtherKind::Type)
        }
        b'U' => {
            reader.u32("an Update's relation")?;
            let at = reader.at();
            match reader.u8("an Update's row")? {
                b'N' => {}
                b'K' | b'O' => {
                    TupleData::read(reader)?;
                    expect(reader, b'N', "an Update's new row")?;
                }
                other => return Err(unknown_row(reader, at, other)),
            }
            TupleData::read(reader)?;
            Ok(OtherKind::Update)
        }
        b'D' => {
            reader.u32("a Delete's relation")?;
            let at = reader.at();
            match reader.u8("a Delete's row")? {
                b'K' | b'O' => TupleData::read(reader)?,
                other => return Err(unknown_row(reader, at, other)),
            };
            Ok(OtherKind::Delete)
        }
        b'T' => {
            let count = reader.count_32("a Truncate's relation count")?;
            reader.u8("a Truncate's options")?;
            for _ in 0..count {
                reader.u32("a Truncate's relation")?;
            }
            Ok(OtherKind::Truncate)
        }
        other => Err(reader.error_at(0, format!("unknown message {:?}", char::from(other)))),
    }
}

fn expect(reader: &mut ByteReader<'_>, wanted: u8, what: &'static str) -> Result<(), DecodeError> {
    let at = reader.at();
    match reader.u8(what)? {
        found if found == wanted => Ok(()),
        found => Err(unknown_row(reader, at, found)),
    }
}

fn unknown_row(reader: &ByteReader<'_>, at: usize, found: u8) -> DecodeError {
    reader.error_at(at, format!("unknown kind of row {:?}", char::from(found)))
}
