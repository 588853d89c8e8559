//! Whether a table can be the outbox.

use outbox::{AcceptedTypes, COLUMN_ROLES, Requirement};

use crate::connection::names::Names;
use crate::connection::quote::{self, identifier};
use crate::retention::month::Month;
use crate::setup::catalog::{CatalogColumn, CatalogIndex, CatalogTable};
use crate::setup::migrations::definition;
use crate::setup::preflight::needs::RunNeeds;
use crate::setup::preflight::problem::Problem;

/// A column that is looked for: its name, what it is for, and what it has to be.
struct Wanted<'a> {
    name: &'a str,
    key: &'a str,
    requirement: Requirement,
    accepted: AcceptedTypes,
}

fn wanted(names: &Names, write_back: bool) -> Vec<Wanted<'_>> {
    let columns = &names.columns;
    COLUMN_ROLES
        .iter()
        .filter(|role| write_back || role.requirement != Requirement::WriteBack)
        .map(|role| Wanted {
            name: role.name(columns),
            key: role.key,
            requirement: role.requirement,
            accepted: role.accepted,
        })
        .chain(columns.template_columns().map(|name| Wanted {
            name,
            key: "",
            requirement: Requirement::Always,
            accepted: AcceptedTypes::Scalar,
        }))
        .collect()
}

/// What keeps the table from being the outbox, whichever role asks.
pub(crate) fn table_problems(table: &CatalogTable, names: &Names, write_back: bool) -> Vec<Problem> {
    let name = &names.table;
    if !matches!(table.kind.as_str(), "r" | "p") {
        return vec![Problem::new(format!("{name} is no table"), "set postgres.table to the outbox table")];
    }
    let mut problems = Vec::new();
    if !table.logged {
        problems.push(Problem::new(
            format!("table {name} is unlogged: what is written to it never reaches the log"),
            format!("ALTER TABLE {} SET LOGGED", quote::table(name)),
        ));
    }
    problems.extend(missing(table, names, write_back));
    for wanted in wanted(names, write_back) {
        let Some(column) = find(table, wanted.name) else { continue };
        if !wanted.accepted.accepts(&column.type_name, column.text_of_user) {
            problems.push(Problem::new(
                format!("column {} of {name} is {}", column.name, column.type_name),
                format!("it takes {}", wanted.accepted),
            ));
        }
        if column.generated {
            problems.push(Problem::new(
                format!("column {} of {name} is generated, and such columns are not replicated", column.name),
                "make it an ordinary column that the service writes",
            ));
        }
    }
    let id = &names.columns.id;
    if write_back
        && find(table, id).is_some()
        && !table.indexes.iter().any(|index| index.usable && index.leads_with.as_ref() == Some(id))
    {
        problems.push(Problem::new(
            format!("no index of {name} begins with {id}: every write-back would read the whole table"),
            match table.kind.as_str() {
                // A key of a partitioned table has to contain what it is partitioned by.
                "p" => format!("CREATE INDEX ON {} ({})", quote::table(name), identifier(id)),
                _ => format!("ALTER TABLE {} ADD PRIMARY KEY ({})", quote::table(name), identifier(id)),
            },
        ));
    }
    problems
}

fn missing(table: &CatalogTable, names: &Names, write_back: bool) -> Option<Problem> {
    let missing: Vec<_> = wanted(names, write_back)
        .into_iter()
        .filter(|wanted| wanted.requirement != Requirement::Optional && find(table, wanted.name).is_none())
        .collect();
    if missing.is_empty() {
        return None;
    }
    let listed: Vec<_> = missing.iter().map(|wanted| wanted.name).collect();
    let added: Vec<_> = missing
        .iter()
        .map(|wanted| format!("ADD COLUMN {} {}", identifier(wanted.name), definition(wanted.key)))
        .collect();
    let only_written = missing.iter().all(|wanted| wanted.requirement == Requirement::WriteBack);
    let instead = if only_written { ", or set writeback.enabled = false" } else { "" };
    Some(Problem::new(
        format!("table {} has no column {}", names.table, listed.join(", ")),
        format!(
            "ALTER TABLE {} {}; or map the names under [columns]{instead}",
            quote::table(&names.table),
            added.join(", ")
        ),
    ))
}

/// What keeps this role from working with the table.
pub(crate) fn privilege_problems(
    table: &CatalogTable,
    names: &Names,
    role: &str,
    needs: RunNeeds,
) -> Vec<Problem> {
    if !needs.write_back {
        return Vec::new();
    }
    let mut problems = Vec::new();
    let columns = &names.columns;
    let has = |part: &str, privilege: fn(&CatalogColumn) -> bool| find(table, part).is_none_or(privilege);
    let written = COLUMN_ROLES.iter().filter(|role| role.requirement == Requirement::WriteBack);
    let updates = written.clone().all(|role| has(role.name(columns), |column| column.update));
    let selects = COLUMN_ROLES.iter().all(|role| has(role.name(columns), |column| column.select));
    let deletes = !needs.retention || table.delete;
    let missing_privileges: Vec<_> = [("SELECT", selects), ("UPDATE", updates), ("DELETE", deletes)]
        .iter()
        .filter(|(_, has)| !has)
        .map(|(privilege, _)| *privilege)
        .collect();
    if !missing_privileges.is_empty() {
        problems.push(Problem::new(
            format!("role {role} may not {} in table {}", missing_privileges.join(" and "), names.table),
            format!(
                "GRANT {} ON {} TO {}",
                missing_privileges.join(", "),
                quote::table(&names.table),
                identifier(role)
            ),
        ));
    }
    if table.row_security {
        problems.push(Problem::new(
            format!("row-level security hides rows of table {} from role {role}", names.table),
            format!("ALTER ROLE {} BYPASSRLS", identifier(role)),
        ));
    }
    problems
}

/// What keeps old rows of this table from being catalog.
pub(crate) fn retention_problems(table: &CatalogTable, names: &Names) -> Option<Problem> {
    let created_at = &names.columns.created_at;
    let off = "unset retention.complete_after";
    if find(table, created_at).is_none() {
        return Some(Problem::new(
            format!(
                "table {} has no column {created_at}, by which retention looks for old rows",
                names.table
            ),
            format!("{off}, or add the column"),
        ));
    }
    (!has_index_on_created_at(table, names)).then(|| {
        Problem::new(
            format!(
                "no index of {} begins with {created_at}: retention would read the whole table for every batch",
                names.table
            ),
            format!("{}; or {off}", create_created_at_index(table, names)),
        )
    })
}

fn has_index_on_created_at(table: &CatalogTable, names: &Names) -> bool {
    let leads = |index: &CatalogIndex| index.leads_with.as_ref() == Some(&names.columns.created_at);
    table.indexes.iter().any(|index| index.usable && index.ordered && leads(index))
}

fn create_created_at_index(table: &CatalogTable, names: &Names) -> String {
    // PostgreSQL makes no index of a partitioned table concurrently.
    let concurrently = if table.kind == "p" { "" } else { " CONCURRENTLY" };
    format!(
        "CREATE INDEX{concurrently} ON {} ({}, {})",
        quote::table(&names.table),
        identifier(&names.columns.created_at),
        identifier(&names.columns.id)
    )
}

/// What works but could be better: warnings first.
pub(crate) fn advice(
    table: &CatalogTable,
    names: &Names,
    month: Month,
    write_back: bool,
) -> (Vec<String>, Vec<String>) {
    let (mut warnings, mut notes) = (Vec::new(), Vec::new());
    if !write_back {
        return (warnings, notes);
    }
    let columns = &names.columns;
    let changed: Vec<&str> = COLUMN_ROLES
        .iter()
        .filter(|role| role.requirement == Requirement::WriteBack)
        .map(|role| role.name(columns))
        .collect();
    for index in table.indexes.iter().filter(|index| index.ends_hot) {
        let touched: Vec<_> =
            index.touches.iter().map(String::as_str).filter(|name| changed.contains(name)).collect();
        if !touched.is_empty() {
            warnings.push(format!(
                "index {} of {} covers {}, which write-back changes: it ends HOT updates and halves the throughput; \
                 drop it if nothing else needs it",
                index.name,
                names.table,
                touched.join(", ")
            ));
        }
    }
    if find(table, &columns.created_at).is_some() && !has_index_on_created_at(table, names) {
        notes.push(format!(
            "no index of {} begins with {}: each look for stuck rows and each page of a replay reads the whole \
             table; {}",
            names.table,
            columns.created_at,
            create_created_at_index(table, names)
        ));
    }
    // A month that is over has the rows that it is going to have.
    let full = table.partitions.iter().filter(|partition| {
        partition.kind == "r" && partition.fillfactor > 90 && partition.month.is_none_or(|of| of >= month)
    });
    let mut full: Vec<_> = full.map(|partition| quote::table(&partition.name)).collect();
    if let Some(first) = full.first().cloned() {
        let count = full.len();
        full.truncate(3);
        notes.push(format!(
            "{count} partition(s) of {} have a fillfactor above 90 ({}{}): ALTER TABLE {first} SET (fillfactor = 50) \
             lets rows written from then on be updated on their own page",
            names.table,
            full.join(", "),
            if count > full.len() { ", …" } else { "" },
        ));
    }
    if table.kind == "r" && table.fillfactor > 90 {
        notes.push(format!(
            "table {} has fillfactor {}: ALTER TABLE {} SET (fillfactor = 50) lets rows written from then on be \
             updated on their own page",
            names.table,
            table.fillfactor,
            quote::table(&names.table)
        ));
    }
    let status = find(table, &columns.status);
    if status
        .is_some_and(|column| column.default.as_ref().is_none_or(|default| !default.starts_with("'INIT'")))
    {
        notes.push(format!(
            "column {} of {} does not default to 'INIT': rows that say anything else when they are inserted are \
             published but never become PUBLISH",
            columns.status, names.table
        ));
    }
    (warnings, notes)
}

fn find<'a>(table: &'a CatalogTable, name: &str) -> Option<&'a CatalogColumn> {
    table.columns.iter().find(|column| column.name == name)
}
