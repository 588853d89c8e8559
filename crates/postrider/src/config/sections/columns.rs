//! `[columns]`: the names of the outbox table's columns.

use outbox::{COLUMN_ROLES, Columns};

use crate::config::keys;
use crate::config::settings::values::Settings;

/// Reads the section. Two roles cannot share a column.
pub(crate) fn read(settings: &mut Settings) -> Columns {
    let mut columns = Columns::default();
    let mut assigned: Vec<(&str, String)> = Vec::new();
    for (role, key) in COLUMN_ROLES.iter().zip(keys::COLUMNS.iter()) {
        let Some(name) = settings.value(key) else { continue };
        match assigned.iter().find(|(_, other)| *other == name) {
            Some((other, _)) => settings.reject(
                key.name,
                format!("column {name:?} is already used by {other}; every key needs a column of its own"),
            ),
            None => assigned.push((key.name, name.clone())),
        }
        role.rename(&mut columns, name);
    }
    columns
}
