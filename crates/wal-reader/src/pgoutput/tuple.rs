use bytes::Bytes;
use uuid::Uuid;

use crate::byte_reader::ByteReader;
use crate::decode_error::DecodeError;

/// The value of a column as sent by the server.
///
/// `B` is [`Bytes`], a slice of the frame that shares its ownership, or a borrowed `&[u8]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<B = Bytes> {
    /// SQL NULL.
    Null,
    /// A TOASTed value that an UPDATE did not change, so it was not sent. Never in an INSERT.
    Unchanged,
    /// The type's text output. With the option `binary`, only types without a send function use it.
    Text(B),
    /// The output of the type's send function; for `jsonb` it begins with a version byte.
    Binary(B),
}

/// One row. Its values are slices of the message, which the tuple keeps in memory.
#[derive(Clone, Debug)]
pub struct Tuple {
    message: Bytes,
    fields: Vec<Field>,
}

/// The range of a value. Not a `Bytes`: columns that are never read then cost no reference count.
#[derive(Clone, Copy, Debug)]
struct Field {
    kind: u8,
    start: u32,
    end: u32,
}

impl Tuple {
    /// The number of columns.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether the row has no columns, as rows of a table without columns.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The value of the column at `index` of [`Relation::columns`](crate::Relation::columns).
    pub fn get(&self, index: usize) -> Option<Value> {
        let field = self.fields.get(index)?;
        let slice = || self.message.slice(field.start as usize..field.end as usize);
        Some(field.value(slice))
    }

    /// As [`get`](Self::get), without sharing ownership: cheaper if the value is only read.
    #[inline]
    pub fn peek(&self, index: usize) -> Option<Value<&[u8]>> {
        let field = self.fields.get(index)?;
        Some(field.value(|| &self.message[field.start as usize..field.end as usize]))
    }

    /// The value of a column of a character type (`text`, `varchar`, `name`, an enum), whose text and binary
    /// output are the same bytes. `None` for NULL, a value that is not UTF-8 and an index out of range.
    pub fn text(&self, index: usize) -> Option<&str> {
        match self.peek(index)? {
            Value::Text(bytes) | Value::Binary(bytes) => std::str::from_utf8(bytes).ok(),
            Value::Null | Value::Unchanged => None,
        }
    }

    /// The value of a `uuid` column, from its binary (16 bytes) or text output. `None` for NULL, a value that is
    /// not a UUID and an index out of range.
    pub fn uuid(&self, index: usize) -> Option<Uuid> {
        match self.peek(index)? {
            Value::Binary(bytes) => Uuid::from_slice(bytes).ok(),
            Value::Text(bytes) => Uuid::try_parse_ascii(bytes).ok(),
            Value::Null | Value::Unchanged => None,
        }
    }

    pub(crate) fn new(message: Bytes, fields: TupleData) -> Self {
        Tuple { message, fields: fields.0 }
    }
}

impl Field {
    #[inline]
    fn value<B>(self, slice: impl FnOnce() -> B) -> Value<B> {
        match self.kind {
            b'n' => Value::Null,
            b'u' => Value::Unchanged,
            b't' => Value::Text(slice()),
            _ => Value::Binary(slice()),
        }
    }
}

impl PartialEq for Tuple {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && (0..self.len()).all(|index| self.peek(index) == other.peek(index))
    }
}

impl Eq for Tuple {}

/// The value ranges of a row, without the message they refer to.
pub(crate) struct TupleData(Vec<Field>);

impl TupleData {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Reads a TupleData. The message must be at most `u32::MAX` bytes long.
    #[inline]
    pub(crate) fn read(reader: &mut ByteReader<'_>) -> Result<Self, DecodeError> {
        let count = reader.count_16("a tuple column count")?;
        // A column has at least one byte, so a count beyond the remaining bytes reserves no memory.
        let mut fields = Vec::with_capacity(count.min(reader.remaining()));
        for _ in 0..count {
            let at = reader.at();
            let kind = reader.u8("a column kind")?;
            let range = match kind {
                b'n' | b'u' => 0..0,
                b't' | b'b' => {
                    let length = reader.count_32("a column length")?;
                    reader.take(length, "a column value")?
                }
                other => {
                    let what = format!("unknown column kind {:?}", char::from(other));
                    return Err(reader.error_at(at, what));
                }
            };
            fields.push(Field { kind, start: range.start as u32, end: range.end as u32 });
        }
        Ok(TupleData(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(0x018f_0000_0000_7000_8000_0000_0000_00ff);

    fn tuple(fields: &[(u8, &[u8])]) -> Tuple {
        let mut message = (fields.len() as u16).to_be_bytes().to_vec();
        for (kind, bytes) in fields {
            message.push(*kind);
            if matches!(kind, b't' | b'b') {
                message.extend((bytes.len() as u32).to_be_bytes());
                message.extend(*bytes);
            }
        }
        let fields = TupleData::read(&mut ByteReader::new(&message, 0)).expect("a TupleData");
        Tuple::new(message.into(), fields)
    }

    #[test]
    fn text_reads_both_formats_and_rejects_null_and_invalid_utf_8() {
        let tuple = tuple(&[(b't', b"a"), (b'b', "ü".as_bytes()), (b'b', b""), (b'n', b""), (b'b', b"\xff")]);
        let texts: Vec<Option<&str>> = (0..6).map(|index| tuple.text(index)).collect();
        assert_eq!(texts, [Some("a"), Some("ü"), Some(""), None, None, None]);
    }

    #[test]
    fn uuid_reads_both_formats_and_rejects_null_and_other_lengths() {
        let text = ID.to_string();
        let tuple = tuple(&[(b'b', ID.as_bytes()), (b't', text.as_bytes()), (b'n', b""), (b'b', b"short")]);
        let ids: Vec<Option<Uuid>> = (0..5).map(|index| tuple.uuid(index)).collect();
        assert_eq!(ids, [Some(ID), Some(ID), None, None, None]);
    }
}
