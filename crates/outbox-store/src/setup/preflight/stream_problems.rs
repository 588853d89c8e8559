//! Whether the server, the publication and the slot can carry the stream.

use outbox::{COLUMN_ROLES, Requirement};

use crate::connection::names::Names;
use crate::connection::quote::{self, identifier, literal};
use crate::setup::catalog::{CatalogPublication, CatalogServer, CatalogSlot, CatalogTable};
use crate::setup::preflight::problem::Problem;

// The oldest major version that is supported; 14 brought pgoutput's messages and binary mode.
const VERSION_NUM_MIN: i32 = 140_000;
const IDENTIFIER_BYTES_MAX: usize = 63;

pub(crate) fn server_problems(server: &CatalogServer) -> Vec<Problem> {
    if server.version_num < VERSION_NUM_MIN {
        return vec![Problem::new(
            format!("the server is PostgreSQL {}", server.version),
            "Postrider needs PostgreSQL 14 or later",
        )];
    }
    let mut problems = Vec::new();
    if server.wal_level != "logical" {
        problems.push(Problem::new(
            format!("wal_level is {}", server.wal_level),
            "ALTER SYSTEM SET wal_level = logical, then restart the server",
        ));
    }
    problems
}

/// Names that PostgreSQL would cut or refuse.
pub(crate) fn name_problems(names: &Names) -> Vec<Problem> {
    let columns = &names.columns;
    let parts = COLUMN_ROLES.iter().map(|role| (role.config_key.to_owned(), role.name(columns)));
    let others = columns.template_columns().map(|name| ("a column of a template".to_owned(), name));
    let table = || "postgres.table".to_owned();
    let mut problems: Vec<_> = [
        (table(), names.table.schema.as_str()),
        (table(), names.table.name.as_str()),
        ("postgres.publication".to_owned(), names.publication.as_str()),
        ("postgres.slot".to_owned(), names.slot.as_str()),
    ]
    .into_iter()
    .chain(parts)
    .chain(others)
    .filter(|(_, name)| name.is_empty() || name.len() > IDENTIFIER_BYTES_MAX || name.contains('\0'))
    .map(|(key, name)| {
        Problem::new(
            format!("{key}: '{}' cannot be a name in PostgreSQL", name.escape_default()),
            format!("a name has 1 to {IDENTIFIER_BYTES_MAX} bytes"),
        )
    })
    .collect();
    if !names.slot.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
        problems.push(Problem::new(
            format!("postgres.slot: '{}' cannot be a slot's name", names.slot.escape_default()),
            "it takes lower-case letters, digits and underscores",
        ));
    }
    problems
}

/// What is wrong with a publication that covers, or is going to cover, the table.
pub(crate) fn publication_problems(
    publication: &CatalogPublication,
    table: Option<&CatalogTable>,
    names: &Names,
) -> Vec<Problem> {
    let name = &names.publication;
    let mut problems = Vec::new();
    if !publication.inserts {
        problems.push(Problem::new(
            format!("publication {name} does not publish inserts"),
            format!("ALTER PUBLICATION {} SET (publish = 'insert')", identifier(name)),
        ));
    }
    if table.is_some_and(|table| table.kind == "p") && !publication.via_root {
        problems.push(Problem::new(
            format!("publication {name} publishes the partitions of {} under their own names", names.table),
            format!("ALTER PUBLICATION {} SET (publish_via_partition_root = true)", identifier(name)),
        ));
    }
    let listed =
        publication.published_table.as_ref().and_then(|published_table| published_table.columns.as_ref());
    if let (Some(listed), Some(table)) = (listed, table) {
        let columns = &names.columns;
        let read = COLUMN_ROLES
            .iter()
            .filter(|role| role.requirement != Requirement::WriteBack)
            .map(|role| role.name(columns));
        let there = |name: &&str| table.columns.iter().any(|column| column.name == *name);
        let left_out: Vec<_> = read
            .chain(columns.template_columns())
            .filter(there)
            .filter(|name| !listed.iter().any(|listed| listed == name))
            .collect();
        if !left_out.is_empty() {
            problems.push(Problem::new(
                format!("publication {name} leaves out column {} of {}", left_out.join(", "), names.table),
                format!(
                    "ALTER PUBLICATION {} SET TABLE {}{}",
                    identifier(name),
                    quote::table(&names.table),
                    if publication.replay { ", postrider.replay" } else { "" }
                ),
            ));
        }
    }
    problems
}

/// What is worth knowing about a publication that is there.
pub(crate) fn publication_notes(publication: &CatalogPublication, names: &Names) -> Vec<String> {
    let name = &names.publication;
    let mut notes = Vec::new();
    if publication.all_tables {
        notes.push(format!(
            "publication {name} is FOR ALL TABLES: the server decodes and sends every table's changes, and those \
             of others than {} are thrown away",
            names.table
        ));
    }
    if !publication.more.is_empty() {
        notes.push(format!(
            "publication {name} publishes {} besides inserts: every write-back travels through the slot for nothing; \
             ALTER PUBLICATION {} SET (publish = 'insert')",
            publication.more.join(", "),
            identifier(name)
        ));
    }
    if let Some(filter) =
        publication.published_table.as_ref().and_then(|published_table| published_table.row_filter.as_ref())
    {
        notes.push(format!("publication {name} publishes only the rows of {} with {filter}", names.table));
    }
    notes
}

pub(crate) fn slot_problems(slot: &CatalogSlot, server: &CatalogServer, names: &Names) -> Vec<Problem> {
    let name = &names.slot;
    let drop = format!("SELECT pg_drop_replication_slot({})", literal(name));
    let other = format!("set postgres.slot to another name, or, if it is not needed, {drop}");
    let Some(plugin) = &slot.plugin else {
        return vec![Problem::new(format!("slot {name} is a physical one"), other)];
    };
    let mut problems = Vec::new();
    if plugin != "pgoutput" {
        problems
            .push(Problem::new(format!("slot {name} has the plugin {plugin}, not pgoutput"), other.clone()));
    }
    if let Some(database) = slot.database.as_ref().filter(|database| **database != server.database) {
        problems.push(Problem::new(
            format!("slot {name} belongs to database {database}, not {}", server.database),
            other.clone(),
        ));
    }
    if slot.temporary {
        problems.push(Problem::new(format!("slot {name} is temporary: it ends with its connection"), other));
    }
    let lost = slot.wal_status.as_deref() == Some("lost");
    if lost || slot.invalidation_reason.is_some() {
        let reason = slot.invalidation_reason.as_deref().unwrap_or("wal_removed");
        problems.push(Problem::new(
            format!("slot {name} is lost: the server has invalidated it ({reason})"),
            format!("{drop}, then run `postrider init`; INIT rows by then are not published by the new slot"),
        ));
    }
    problems
}

pub(crate) fn replication_problem(role: &str) -> Problem {
    Problem::new(
        format!("role {role} may not replicate"),
        format!("ALTER ROLE {} REPLICATION (on Amazon RDS: GRANT rds_replication TO it)", identifier(role)),
    )
}
