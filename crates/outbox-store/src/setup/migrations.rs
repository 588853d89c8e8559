//! The SQL of `migrations/`, compiled in.

use crate::connection::names::Names;
use crate::connection::quote;
use crate::retention::month::{Month, created_at_index, default_partition};
use crate::setup::columns::{PARTS, templated};

const OUTBOX: &str = include_str!("../../../../migrations/outbox.sql");
const OUTBOX_PARTITIONED: &str = include_str!("../../../../migrations/outbox_partitioned.sql");

/// One numbered migration of schema `postrider`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Migration {
    pub(crate) version: i32,
    pub(crate) name: &'static str,
    sql: &'static str,
}

pub(crate) const MIGRATIONS: [Migration; 2] = [
    Migration { version: 1, name: "progress", sql: include_str!("../../../../migrations/0001_progress.sql") },
    Migration {
        version: 2,
        name: "lifecycle",
        sql: include_str!("../../../../migrations/0002_lifecycle.sql"),
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

/// The table's SQL under the configured names, with the columns that templates read added as text.
pub(crate) fn outbox(names: &Names) -> String {
    filled(OUTBOX, names)
}

/// The same for a table in monthly partitions, with the partitions of these months.
pub(crate) fn outbox_partitioned(names: &Names, months: impl Iterator<Item = Month>) -> String {
    let mut sql = filled(OUTBOX_PARTITIONED, names);
    sql.extend(months.map(|month| month.create_sql(&names.table)));
    sql
}

fn filled(template: &str, names: &Names) -> String {
    let columns = &names.columns;
    let mut sql = quote::fill(template, |placeholder| match placeholder {
        "table" => Some(quote::table(&names.table)),
        "default_partition" => Some(quote::table(&default_partition(&names.table))),
        "created_at_index" => Some(quote::identifier(&created_at_index(&names.table).name)),
        key => PARTS.iter().find(|part| part.key == key).map(|part| quote::identifier(part.name(columns))),
    });
    for name in templated(columns) {
        let (table, column) = (quote::table(&names.table), quote::identifier(name));
        sql.push_str(&format!("alter table {table} add column if not exists {column} text;\n"));
    }
    sql
}

/// A column's definition as the table's SQL has it, for an ALTER TABLE. `not null` is left out where there is
/// no default: rows may be there already.
pub(crate) fn definition(key: &str) -> &'static str {
    let definition = OUTBOX
        .lines()
        .find_map(|line| line.trim().strip_prefix('{')?.strip_prefix(key)?.strip_prefix("} "))
        .map_or("text", |definition| definition.trim_end_matches(','));
    if definition.contains("default") { definition } else { definition.trim_end_matches(" not null") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outbox::Columns;

    #[test]
    fn every_placeholder_is_filled_and_every_part_has_its_column() {
        let names = Names::default();
        for sql in [outbox(&names), outbox_partitioned(&names, [Month::new(2026, 12)].into_iter())] {
            assert!(!sql.contains('{') && !sql.contains('}'), "{sql}");
        }
        for part in PARTS {
            assert!(OUTBOX.contains(&format!("    {{{}}} ", part.key)), "{}", part.key);
        }
    }

    #[test]
    fn both_shapes_of_the_table_have_the_same_columns() {
        let columns = |sql: &'static str| {
            let lines = sql.lines().filter(|line| line.starts_with("    {"));
            lines
                .map(|line| line.trim_end_matches(',').replace("primary key", "not null"))
                .collect::<Vec<_>>()
        };
        assert_eq!(columns(OUTBOX), columns(OUTBOX_PARTITIONED));
        assert_eq!(columns(OUTBOX).len(), PARTS.len());
    }

    #[test]
    fn a_definition_is_the_one_in_the_file() {
        assert_eq!(definition("status"), "text not null default 'INIT'");
        assert_eq!(definition("kafka_offset"), "bigint");
        assert_eq!(definition("event_type"), "text");
        assert_eq!(definition("last_error"), "text");
    }

    #[test]
    fn a_column_of_a_template_is_made_once_and_only_if_it_plays_no_other_part() {
        let others = ["tenant", "aggregate_type", "tenant"].map(str::to_owned).to_vec();
        let names = Names { columns: Columns { others, ..Columns::default() }, ..Names::default() };
        assert_eq!(outbox(&names).matches("add column if not exists").count(), 1);
    }

    #[test]
    fn every_file_of_the_folder_is_compiled_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .expect("the folder is there")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .collect();
        files.sort();
        let mut compiled: Vec<_> =
            MIGRATIONS.iter().map(|m| format!("{:04}_{}.sql", m.version, m.name)).collect();
        compiled.extend(["outbox.sql".to_owned(), "outbox_partitioned.sql".to_owned()]);
        assert_eq!(files, compiled);
    }
}
