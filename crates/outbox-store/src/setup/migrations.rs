//! The SQL of `migrations/`, compiled in.

use outbox::ColumnRole;

use crate::connection::names::Names;
use crate::connection::quote;
use crate::retention::month::{Month, created_at_index, default_partition};

const OUTBOX: &str = include_str!("../../../../migrations/outbox.sql");

/// The first version with `uuidv7()`.
const UUID_V7_VERSION_NUM: i32 = 180_000;

/// One numbered migration of schema `postrider`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Migration {
    pub(crate) version: i32,
    pub(crate) name: &'static str,
    sql: &'static str,
}

pub(crate) const MIGRATIONS: [Migration; 3] = [
    Migration { version: 1, name: "progress", sql: include_str!("../../../../migrations/0001_progress.sql") },
    Migration {
        version: 2,
        name: "lifecycle",
        sql: include_str!("../../../../migrations/0002_lifecycle.sql"),
    },
    Migration {
        version: 3,
        name: "held_events",
        sql: include_str!("../../../../migrations/0003_held_events.sql"),
    },
];

impl Migration {
    /// The migration and the note that it was applied: one transaction when sent as one query.
    pub(crate) fn sql(self) -> String {
        format!(
            "{}\ninsert into postrider.migration (version, name) values ({}, {}) on conflict do nothing;\n",
            self.sql.trim_end(),
            self.version,
            quote::literal(self.name)
        )
    }
}

/// The SQL of the plain table, with the configured names and the columns that templates read added as text.
pub(crate) fn outbox(names: &Names, version_num: i32) -> String {
    let primary_key = quote::identifier(&names.columns.id);
    fill(names, version_num, &primary_key, "with (fillfactor = 50)")
}

/// The SQL of the table in monthly partitions, with the default partition, which takes what no month does so that no
/// insert fails, and the partitions of these months.
pub(crate) fn outbox_partitioned(
    names: &Names,
    version_num: i32,
    months: impl Iterator<Item = Month>,
) -> String {
    let (id, created_at) =
        (quote::identifier(&names.columns.id), quote::identifier(&names.columns.created_at));
    let storage = format!("partition by range ({created_at})");
    let mut sql = fill(names, version_num, &format!("{id}, {created_at}"), &storage);
    sql.push_str(&format!(
        "create table if not exists {} partition of {} default with (fillfactor = 50);\n",
        quote::table(&default_partition(&names.table)),
        quote::table(&names.table)
    ));
    sql.extend(months.map(|month| month.create_sql(&names.table)));
    sql
}

fn fill(names: &Names, version_num: i32, primary_key: &str, storage: &str) -> String {
    let columns = &names.columns;
    let uuid = if version_num >= UUID_V7_VERSION_NUM { "uuidv7()" } else { "gen_random_uuid()" };
    let statements = OUTBOX.find("create table").map_or(OUTBOX, |start| &OUTBOX[start..]);
    let mut sql = quote::fill(statements, |placeholder| match placeholder {
        "table" => Some(quote::table(&names.table)),
        "created_at_index" => Some(quote::identifier(&created_at_index(&names.table).name)),
        "uuid" => Some(uuid.to_owned()),
        "primary_key" => Some(primary_key.to_owned()),
        "storage" => Some(storage.to_owned()),
        key => ColumnRole::by_key(key).map(|role| quote::identifier(role.name(columns))),
    });
    for name in columns.template_columns() {
        let (table, column) = (quote::table(&names.table), quote::identifier(name));
        sql.push_str(&format!("alter table {table} add column if not exists {column} text;\n"));
    }
    sql
}

/// A column's definition for ALTER TABLE. Without a default it is nullable, because the table may have rows.
pub(crate) fn definition(key: &str) -> &'static str {
    if key == "id" {
        return "uuid primary key default gen_random_uuid()";
    }
    let definition = OUTBOX
        .lines()
        .find_map(|line| line.trim().strip_prefix('{')?.strip_prefix(key)?.strip_prefix("} "))
        .map_or("text", |definition| definition.trim_end_matches(','));
    if definition.contains("default") { definition } else { definition.trim_end_matches(" not null") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outbox::{COLUMN_ROLES, Columns, Requirement};

    #[test]
    fn table_sql_fills_every_placeholder_and_defines_every_required_column() {
        let names = Names::default();
        let months = [Month::new(2026, 12)].into_iter();
        for sql in [outbox(&names, 170_000), outbox_partitioned(&names, 180_000, months)] {
            assert!(!sql.contains('{') && !sql.contains('}'), "{sql}");
        }
        for role in COLUMN_ROLES.iter().filter(|role| role.requirement != Requirement::Optional) {
            assert!(OUTBOX.contains(&format!("    {{{}}} ", role.key)), "{}", role.key);
        }
    }

    #[test]
    fn table_sql_differs_in_primary_key_storage_and_uuid_function() {
        let names = Names::default();
        let plain = outbox(&names, 170_000);
        assert!(plain.contains("uuid not null default gen_random_uuid(),"), "{plain}");
        assert!(plain.contains("primary key (\"id\")\n) with (fillfactor = 50);"), "{plain}");
        let partitioned = outbox_partitioned(&names, 180_000, [].into_iter());
        assert!(partitioned.contains("uuid not null default uuidv7(),"), "{partitioned}");
        let tail = "primary key (\"id\", \"created_at\")\n) partition by range (\"created_at\");";
        assert!(partitioned.contains(tail), "{partitioned}");
        let columns = |sql: &str| sql.lines().filter(|line| line.starts_with("    \"")).count();
        assert_eq!(columns(&plain), columns(&partitioned));
    }

    #[test]
    fn definition_reads_the_column_from_the_table_sql() {
        assert_eq!(definition("status"), "text not null default 'INIT'");
        assert_eq!(definition("kafka_offset"), "bigint");
        assert_eq!(definition("event_type"), "text");
        assert_eq!(definition("last_error"), "text");
        assert_eq!(definition("id"), "uuid primary key default gen_random_uuid()");
    }

    #[test]
    fn table_sql_adds_a_template_column_once() {
        let others = ["tenant", "aggregate_type", "tenant"].map(str::to_owned).to_vec();
        let names = Names { columns: Columns { others, ..Columns::default() }, ..Names::default() };
        assert_eq!(outbox(&names, 170_000).matches("add column if not exists").count(), 1);
    }

    #[test]
    fn every_migration_file_is_compiled_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .expect("the folder is there")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .collect();
        files.sort();
        let mut compiled: Vec<_> =
            MIGRATIONS.iter().map(|m| format!("{:04}_{}.sql", m.version, m.name)).collect();
        compiled.push("outbox.sql".to_owned());
        assert_eq!(files, compiled);
    }
}
