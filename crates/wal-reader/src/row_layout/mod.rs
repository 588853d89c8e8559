//! Reads outbox events from the rows of a relation.

mod column_reader;
pub(crate) mod error;
#[cfg(test)]
mod tests;
mod value_format;

use outbox::{AcceptedTypes, ColumnRole, Columns, Event, EventText};

use crate::pgoutput::relation::Relation;
use crate::pgoutput::tuple::Tuple;
use crate::row_layout::column_reader::ColumnReader;
use crate::row_layout::error::{RowLayoutError, UnreadableRow};
use crate::row_layout::value_format::value_format;

/// The columns of a relation that hold the fields of an [`Event`].
///
/// Every Relation message needs a new layout, so columns can be added, dropped and reordered while the relay runs.
#[derive(Clone, Debug)]
pub struct RowLayout {
    id: ColumnReader,
    texts: Vec<(EventText, ColumnReader)>,
    created_at: Option<ColumnReader>,
    status: Option<ColumnReader>,
    others: Vec<ColumnReader>,
}

impl RowLayout {
    /// Looks up the configured columns in a relation.
    ///
    /// # Errors
    ///
    /// `id`, `payload` or a column used by a template is missing, or a column has an unsupported type.
    pub fn new(relation: &Relation, columns: &Columns) -> Result<RowLayout, RowLayoutError> {
        let table = || format!("{}.{}", relation.namespace, relation.name);
        let optional = |name: &str, accepts: AcceptedTypes| {
            let Some(index) = relation.column_index(name) else { return Ok(None) };
            let type_oid = relation.columns[index].type_oid;
            match value_format(accepts, type_oid) {
                Ok(format) => Ok(Some(ColumnReader { name: name.into(), index, format })),
                Err(accepted) => {
                    Err(RowLayoutError::Type { table: table(), column: name.to_owned(), type_oid, accepted })
                }
            }
        };
        let required = |name: &str, accepts: AcceptedTypes| {
            optional(name, accepts)?
                .ok_or_else(|| RowLayoutError::Missing { table: table(), column: name.to_owned() })
        };
        let id = required(&columns.id, AcceptedTypes::Uuid)?;
        let mut texts = Vec::new();
        for (role, field) in ColumnRole::event_texts() {
            // Without a payload column every record would be a tombstone.
            let column = match role.key {
                "payload" => Some(required(role.name(columns), role.accepted)?),
                _ => optional(role.name(columns), role.accepted)?,
            };
            texts.extend(column.map(|column| (field, column)));
        }
        let others = columns.others.iter().map(|name| required(name, AcceptedTypes::Scalar));
        Ok(RowLayout {
            id,
            texts,
            created_at: optional(&columns.created_at, AcceptedTypes::Timestamp)?,
            // A status column of another type is ignored: it does not hold Postrider's states.
            status: optional(&columns.status, AcceptedTypes::Text).ok().flatten(),
            others: others.collect::<Result<_, _>>()?,
        })
    }

    /// Reads the event from a row inserted by transaction `xid`. Its values are slices of the tuple's message,
    /// except for integers, booleans and UUIDs, which become text.
    ///
    /// # Errors
    ///
    /// A value does not have the format of its column's type. PostgreSQL never sends such a value.
    pub fn event(&self, tuple: &Tuple, xid: u32) -> Result<Event, UnreadableRow> {
        let unreadable = |id, column: &ColumnReader, problem| UnreadableRow {
            id,
            column: column.name.to_string(),
            problem,
        };
        let id = self.id.uuid(tuple).map_err(|problem| unreadable(None, &self.id, problem))?;
        let text = |column: &ColumnReader| {
            column.text(tuple).map_err(|problem| unreadable(Some(id), column, problem))
        };
        let time = |column: &ColumnReader| {
            column.unix_us(tuple).map_err(|problem| unreadable(Some(id), column, problem))
        };
        let mut event = Event {
            created_at_us: self.created_at.as_ref().map_or(Ok(None), time)?,
            xid: Some(xid),
            status: self.status.as_ref().and_then(|column| column.status(tuple)),
            others: self.others.iter().map(text).collect::<Result<_, _>>()?,
            ..Event::new(id)
        };
        for (field, column) in &self.texts {
            field.set(&mut event, text(column)?);
        }
        Ok(event)
    }
}
