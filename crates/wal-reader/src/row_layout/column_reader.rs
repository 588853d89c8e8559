//! Reads one column of a tuple as the value of an event field.

use std::sync::Arc;

use bytes::Bytes;
use outbox::Status;
use uuid::Uuid;

use crate::pgoutput::tuple::{Tuple, Value};
use crate::row_layout::value_format::ValueFormat;

/// Microseconds from 1970-01-01 to 2000-01-01, the epoch of PostgreSQL timestamps.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// A published column: where it is in a tuple, and how its values are read.
///
/// Errors are the predicate of a message that names the column: "is NULL".
#[derive(Clone, Debug)]
pub(crate) struct ColumnReader {
    pub(crate) name: Arc<str>,
    pub(crate) index: usize,
    pub(crate) format: ValueFormat,
}

impl ColumnReader {
    pub(crate) fn uuid(&self, tuple: &Tuple) -> Result<Uuid, &'static str> {
        match tuple.peek(self.index) {
            Some(Value::Null) => Err("is NULL"),
            Some(Value::Unchanged) | None => Err("was not sent"),
            Some(_) => tuple.uuid(self.index).ok_or("is not a UUID"),
        }
    }

    /// The value as text or bytes, a slice of the message where its binary format allows that.
    pub(crate) fn text(&self, tuple: &Tuple) -> Result<Option<Bytes>, &'static str> {
        let bytes = match tuple.get(self.index) {
            Some(Value::Null) => return Ok(None),
            Some(Value::Text(bytes)) => return Ok(Some(bytes)),
            Some(Value::Binary(bytes)) => bytes,
            Some(Value::Unchanged) | None => return Err("was not sent"),
        };
        match self.format {
            ValueFormat::Plain => Ok(Some(bytes)),
            ValueFormat::Jsonb => match bytes.first() {
                Some(1) => Ok(Some(bytes.slice(1..))),
                _ => Err("has a jsonb version other than 1"),
            },
            ValueFormat::Uuid => match Uuid::from_slice(&bytes) {
                Ok(id) => Ok(Some(id.to_string().into())),
                Err(_) => Err("is not a UUID"),
            },
            ValueFormat::Integer => integer(&bytes).map(|number| Some(number.to_string().into())),
            ValueFormat::Boolean => {
                Ok(Some(Bytes::from_static(if bytes.first() == Some(&1) { b"true" } else { b"false" })))
            }
            ValueFormat::Timestamp => Err("is a timestamp"),
        }
    }

    /// The row's state; `None` for NULL and for a value that is not one of Postrider's states.
    pub(crate) fn status(&self, tuple: &Tuple) -> Option<Status> {
        tuple.text(self.index)?.parse().ok()
    }

    /// Microseconds since 1970-01-01; `None` for NULL, `infinity` and `-infinity`.
    pub(crate) fn unix_us(&self, tuple: &Tuple) -> Result<Option<i64>, &'static str> {
        match tuple.peek(self.index) {
            Some(Value::Null) => Ok(None),
            Some(Value::Binary(bytes)) if bytes.len() == 8 => Ok(match integer(bytes)? {
                i64::MIN | i64::MAX => None,
                us => us.checked_add(POSTGRES_EPOCH_US),
            }),
            _ => Err("is not a timestamptz of 8 bytes"),
        }
    }
}

fn integer(bytes: &[u8]) -> Result<i64, &'static str> {
    match *bytes {
        [a, b] => Ok(i16::from_be_bytes([a, b]).into()),
        [a, b, c, d] => Ok(i32::from_be_bytes([a, b, c, d]).into()),
        [a, b, c, d, e, f, g, h] => Ok(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => Err("is not an integer of 2, 4 or 8 bytes"),
    }
}
