//! An outbox row out of a tuple of the stream.

use bytes::Bytes;
use outbox::{Columns, Event, Status};
use uuid::Uuid;

use crate::pgoutput::relation::Relation;
use crate::pgoutput::tuple::{Tuple, Value};

/// Where in a relation's tuples the parts of an event stand, and how their types are read.
///
/// Made anew for every Relation message, so columns may come, go and change places while the relay runs.
#[derive(Clone, Debug)]
pub struct RowLayout {
    id: ColumnPosition,
    payload: ColumnPosition,
    aggregate_type: Option<ColumnPosition>,
    aggregate_id: Option<ColumnPosition>,
    event_type: Option<ColumnPosition>,
    headers: Option<ColumnPosition>,
    topic: Option<ColumnPosition>,
    partition_key: Option<ColumnPosition>,
    created_at: Option<ColumnPosition>,
    status: Option<ColumnPosition>,
    others: Vec<ColumnPosition>,
}

#[derive(Clone, Copy, Debug)]
struct ColumnPosition {
    index: usize,
    form: ValueFormat,
}

/// How PostgreSQL's binary form of a type becomes what an [`Event`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ValueFormat {
    /// The binary form is the text or the bytes themselves.
    Plain,
    /// One version byte, then the JSON text.
    Jsonb,
    Uuid,
    Integer,
    Boolean,
    /// Microseconds since 2000-01-01.
    Timestamp,
}

/// A table that cannot be an outbox as configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowLayoutError {
    /// A needed column is not in the stream.
    #[error(
        "table {table} has no column '{column}' in the publication; add it, publish it, or map another one \
         under [columns]"
    )]
    Missing {
        /// The table as the stream names it.
        table: String,
        /// The column's name.
        column: String,
    },
    /// A column's type cannot play its part.
    #[error(
        "column '{column}' of table {table} has a type (OID {type_oid}) that cannot be used for it; it takes {takes}"
    )]
    Type {
        /// The table as the stream names it.
        table: String,
        /// The column's name.
        column: String,
        /// The type's OID in `pg_type`.
        type_oid: u32,
        /// The types it takes.
        takes: &'static str,
    },
}

/// A row that is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column '{column}' {what}")]
pub struct UnreadableRow {
    /// The row's id, where that much can be read.
    pub id: Option<Uuid>,
    column: &'static str,
    what: &'static str,
}

/// What a part of the event takes.
#[derive(Clone, Copy)]
enum FieldType {
    Id,
    Text,
    Payload,
    Headers,
    Time,
}

impl RowLayout {
    /// Finds the parts of an event among the columns of a relation.
    ///
    /// # Errors
    ///
    /// `id`, `payload` or a column that a template names is missing, or a column's type cannot play its part.
    pub fn new(relation: &Relation, columns: &Columns) -> Result<RowLayout, RowLayoutError> {
        let table = || format!("{}.{}", relation.namespace, relation.name);
        let find = |name: &str, part: FieldType| {
            let Some(index) = relation.columns.iter().position(|column| column.name == name) else {
                return Ok(None);
            };
            let type_oid = relation.columns[index].type_oid;
            let wrong =
                |takes| RowLayoutError::Type { table: table(), column: name.to_owned(), type_oid, takes };
            form(part, type_oid).map(|form| Some(ColumnPosition { index, form })).map_err(wrong)
        };
        let need = |name: &str, part: FieldType| {
            find(name, part)?
                .ok_or_else(|| RowLayoutError::Missing { table: table(), column: name.to_owned() })
        };
        Ok(RowLayout {
            id: need(&columns.id, FieldType::Id)?,
            payload: need(&columns.payload, FieldType::Payload)?,
            aggregate_type: find(&columns.aggregate_type, FieldType::Text)?,
            aggregate_id: find(&columns.aggregate_id, FieldType::Text)?,
            event_type: find(&columns.event_type, FieldType::Text)?,
            headers: find(&columns.headers, FieldType::Headers)?,
            topic: find(&columns.topic, FieldType::Text)?,
            partition_key: find(&columns.partition_key, FieldType::Text)?,
            created_at: find(&columns.created_at, FieldType::Time)?,
            // What it says is read where it is text; any other type says nothing.
            status: find(&columns.status, FieldType::Text).ok().flatten(),
            others: columns
                .others
                .iter()
                .map(|name| need(name, FieldType::Text))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The event that a tuple inserted by transaction `xid` holds; its values are slices of the tuple's frame.
    ///
    /// # Errors
    ///
    /// A value is not of its column's type. The server sends no such thing; the row is named, not lost.
    pub fn event(&self, tuple: &Tuple, xid: u32) -> Result<Event, UnreadableRow> {
        let id = self.id(tuple)?;
        let bad = |column, what| UnreadableRow { id: Some(id), column, what };
        let text = |position: Option<ColumnPosition>, column| match position {
            None => Ok(None),
            Some(position) => text(tuple, position).map_err(|what| bad(column, what)),
        };
        Ok(Event {
            id,
            aggregate_type: text(self.aggregate_type, "aggregate_type")?,
            aggregate_id: text(self.aggregate_id, "aggregate_id")?,
            event_type: text(self.event_type, "event_type")?,
            payload: text(Some(self.payload), "payload")?,
            headers: text(self.headers, "headers")?,
            topic: text(self.topic, "topic")?,
            partition_key: text(self.partition_key, "partition_key")?,
            created_at_us: match self.created_at {
                None => None,
                Some(position) => unix_us(tuple, position).map_err(|what| bad("created_at", what))?,
            },
            xid: Some(xid),
            status: self.status.and_then(|position| status(tuple, position)),
            others: self
                .others
                .iter()
                .map(|position| text(Some(*position), "named by a template"))
                .collect::<Result<_, _>>()?,
        })
    }

    fn id(&self, tuple: &Tuple) -> Result<Uuid, UnreadableRow> {
        let bad = |what| UnreadableRow { id: None, column: "id", what };
        match tuple.peek(self.id.index) {
            Some(Value::Binary(bytes)) => Uuid::from_slice(bytes).map_err(|_| bad("is no uuid")),
            Some(Value::Text(bytes)) => Uuid::try_parse_ascii(bytes).map_err(|_| bad("is no uuid")),
            _ => Err(bad("is NULL")),
        }
    }
}

/// The types are the catalog's fixed OIDs (PostgreSQL source, `pg_type.dat`); those of 16384 and above are
/// made by users. The stream does not say what they are; whoever checks the table lets only those pass whose binary
/// form is text, such as enums and domains over text.
fn form(part: FieldType, type_oid: u32) -> Result<ValueFormat, &'static str> {
    const BOOL: u32 = 16;
    const BYTEA: u32 = 17;
    const NAME: u32 = 19;
    const INT8: u32 = 20;
    const INT2: u32 = 21;
    const INT4: u32 = 23;
    const TEXT: u32 = 25;
    const JSON: u32 = 114;
    const BPCHAR: u32 = 1042;
    const VARCHAR: u32 = 1043;
    const TIMESTAMP: u32 = 1114;
    const TIMESTAMPTZ: u32 = 1184;
    const UUID: u32 = 2950;
    const JSONB: u32 = 3802;
    const USERS: u32 = 16_384;
    match (part, type_oid) {
        (FieldType::Id | FieldType::Text, UUID) => Ok(ValueFormat::Uuid),
        (FieldType::Id, _) => Err("uuid"),
        (FieldType::Text, TEXT | VARCHAR | BPCHAR | NAME | USERS..) => Ok(ValueFormat::Plain),
        (FieldType::Text, INT2 | INT4 | INT8) => Ok(ValueFormat::Integer),
        (FieldType::Text, BOOL) => Ok(ValueFormat::Boolean),
        (FieldType::Text, _) => Err("text, varchar, an enum, uuid, an integer or boolean"),
        (FieldType::Payload | FieldType::Headers, JSONB) => Ok(ValueFormat::Jsonb),
        (FieldType::Payload | FieldType::Headers, JSON | TEXT | VARCHAR) => Ok(ValueFormat::Plain),
        (FieldType::Payload, BYTEA) => Ok(ValueFormat::Plain),
        (FieldType::Payload, _) => Err("jsonb, json, text, varchar or bytea"),
        (FieldType::Headers, _) => Err("jsonb, json, text or varchar"),
        (FieldType::Time, TIMESTAMP | TIMESTAMPTZ) => Ok(ValueFormat::Timestamp),
        (FieldType::Time, _) => Err("timestamptz"),
    }
}

fn text(tuple: &Tuple, position: ColumnPosition) -> Result<Option<Bytes>, &'static str> {
    let bytes = match tuple.get(position.index) {
        Some(Value::Null) => return Ok(None),
        Some(Value::Text(bytes)) => return Ok(Some(bytes)),
        Some(Value::Binary(bytes)) => bytes,
        Some(Value::Unchanged) | None => return Err("was not sent"),
    };
    match position.form {
        ValueFormat::Plain => Ok(Some(bytes)),
        ValueFormat::Jsonb => match bytes.first() {
            Some(1) => Ok(Some(bytes.slice(1..))),
            _ => Err("is jsonb of a version other than 1"),
        },
        ValueFormat::Uuid => {
            Uuid::from_slice(&bytes).map(|id| Some(id.to_string().into())).map_err(|_| "is no uuid")
        }
        ValueFormat::Integer => integer(&bytes).map(|number| Some(number.to_string().into())),
        ValueFormat::Boolean => {
            Ok(Some(Bytes::from_static(if bytes.first() == Some(&1) { b"true" } else { b"false" })))
        }
        ValueFormat::Timestamp => Err("is a time"),
    }
}

fn status(tuple: &Tuple, position: ColumnPosition) -> Option<Status> {
    match tuple.peek(position.index) {
        Some(Value::Binary(bytes) | Value::Text(bytes)) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

fn integer(bytes: &[u8]) -> Result<i64, &'static str> {
    match *bytes {
        [a, b] => Ok(i16::from_be_bytes([a, b]).into()),
        [a, b, c, d] => Ok(i32::from_be_bytes([a, b, c, d]).into()),
        [a, b, c, d, e, f, g, h] => Ok(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => Err("is no integer of 2, 4 or 8 bytes"),
    }
}

/// PostgreSQL counts from 2000-01-01; `infinity` and `-infinity` are no time of a record.
fn unix_us(tuple: &Tuple, position: ColumnPosition) -> Result<Option<i64>, &'static str> {
    const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
    match tuple.peek(position.index) {
        Some(Value::Null) => Ok(None),
        Some(Value::Binary(bytes)) if bytes.len() == 8 => Ok(match integer(bytes)? {
            i64::MIN | i64::MAX => None,
            us => us.checked_add(POSTGRES_EPOCH_US),
        }),
        _ => Err("is no timestamptz of 8 bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pgoutput::change::Change;
    use crate::pgoutput::decoder::Decoder;
    use crate::pgoutput::relation::Column;

    const TEXT: u32 = 25;
    const INT8: u32 = 20;
    const TIMESTAMPTZ: u32 = 1184;
    const UUID: u32 = 2950;
    const JSONB: u32 = 3802;
    const BYTEA: u32 = 17;

    /// What pgoutput sends for one inserted row in binary form, decoded.
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
    fn every_part_is_read_in_its_type_wherever_it_stands() {
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
        assert_eq!(event.aggregate_type.as_deref(), Some(&b"order"[..]), "an enum's label");
        assert_eq!((event.headers, event.topic), (None, None));
        assert_eq!(event.others, [Some(Bytes::from_static(b"-2"))]);
    }

    #[test]
    fn what_a_row_says_of_itself_is_read_and_a_word_of_others_is_none() {
        let status = |value: &[u8]| {
            let columns =
                [("id", UUID, Some(&ID[..])), ("payload", TEXT, None), ("status", TEXT, Some(value))];
            event(&columns, &[]).expect("an event").status
        };
        assert_eq!(status(b"COMPLETE"), Some(Status::Complete));
        assert_eq!(status(b"new"), None);
    }

    #[test]
    fn bytes_and_text_are_taken_as_they_are_and_empty_is_not_null() {
        let payload = |type_oid, value| {
            event(&[("id", UUID, Some(&ID)), ("payload", type_oid, value)], &[]).expect("an event").payload
        };
        assert_eq!(payload(BYTEA, Some(b"\x00\xff")).as_deref(), Some(&b"\x00\xff"[..]));
        assert_eq!(payload(TEXT, Some(b"")).as_deref(), Some(&b""[..]));
        assert_eq!(payload(TEXT, None), None);
    }

    #[test]
    fn a_time_without_end_is_no_time_of_a_record() {
        let infinity = i64::MAX.to_be_bytes();
        let columns = [
            ("id", UUID, Some(&ID[..])),
            ("payload", TEXT, None),
            ("created_at", TIMESTAMPTZ, Some(&infinity[..])),
        ];
        assert_eq!(event(&columns, &[]).expect("an event").created_at_us, None);
    }

    #[test]
    fn a_row_that_is_no_event_is_named_by_its_id() {
        let bad =
            event(&[("id", UUID, Some(&ID)), ("payload", JSONB, Some(b"\x02{}"))], &[]).expect_err("bad");
        assert_eq!(bad.id, Some(Uuid::from_bytes(ID)));
        assert!(bad.to_string().contains("payload"), "{bad}");
    }

    #[test]
    fn a_table_that_is_no_outbox_is_refused_with_the_column() {
        let column = |name: &str, type_oid| Column {
            name: name.to_owned(),
            type_oid,
            type_modifier: -1,
            part_of_key: false,
        };
        let refused = |columns: Vec<Column>| {
            let relation = Relation {
                oid: 7,
                namespace: "public".to_owned(),
                name: "outbox".to_owned(),
                replica_identity: b'd',
                columns,
            };
            RowLayout::new(&relation, &Columns::default()).expect_err("refused").to_string()
        };
        assert!(refused(vec![column("id", UUID)]).contains("'payload'"));
        assert!(refused(vec![column("id", INT8), column("payload", JSONB)]).contains("'id'"));
        assert!(refused(vec![column("id", UUID), column("payload", INT8)]).contains("jsonb, json, text"));
    }
}
