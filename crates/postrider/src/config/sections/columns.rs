//! `[columns]`: the names of the outbox table's columns.

use outbox::Columns;

use crate::config::keys;
use crate::config::settings::values::Settings;

/// Reads the section. Two roles cannot share a column.
pub(crate) fn read(settings: &mut Settings) -> Columns {
    let mut columns = Columns::default();
    let mut assigned: Vec<(&str, String)> = Vec::new();
    for (key, field) in keys::COLUMNS.iter().zip(fields(&mut columns)) {
        let Some(name) = settings.value(key) else { continue };
        match assigned.iter().find(|(_, other)| *other == name) {
            Some((other, _)) => settings.reject(
                key.name,
                format!("column {name:?} is already used by {other}; every key needs a column of its own"),
            ),
            None => assigned.push((key.name, name.clone())),
        }
        *field = name;
    }
    columns
}

/// In the order of [`keys::COLUMNS`].
fn fields(columns: &mut Columns) -> [&mut String; 18] {
    [
        &mut columns.id,
        &mut columns.aggregate_type,
        &mut columns.aggregate_id,
        &mut columns.event_type,
        &mut columns.payload,
        &mut columns.headers,
        &mut columns.topic,
        &mut columns.partition_key,
        &mut columns.status,
        &mut columns.created_at,
        &mut columns.published_at,
        &mut columns.completed_at,
        &mut columns.kafka_topic,
        &mut columns.kafka_partition,
        &mut columns.kafka_offset,
        &mut columns.attempts,
        &mut columns.last_attempt_at,
        &mut columns.last_error,
    ]
}
