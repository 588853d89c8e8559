use std::fmt;

use crate::connection::names::Names;
use crate::connection::quote::{identifier, literal, table};
use crate::retention::partitions::{missing_months, months_ahead};
use crate::setup::catalog::{CatalogSnapshot, CatalogTable};
use crate::setup::migrations::{self, MIGRATIONS};
use crate::setup::preflight::problem::Problem;
use crate::setup::preflight::stream_problems::{
    name_problems, publication_notes, publication_problems, replication_problem, server_problems,
    slot_problems,
};
use crate::setup::preflight::table_problems::{advice, table_problems};

/// What `init` is going to do, and what it need not do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitPlan {
    /// In order: schema, table, publication, slot.
    pub lines: Vec<Line>,
    /// What has to be put right first; while there is any, nothing is done.
    pub problems: Vec<Problem>,
}

/// One line of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Something is there already.
    Found(String),
    /// It works, and could be better.
    Note(String),
    /// It works, and costs dearly.
    Warning(String),
    /// A change.
    Step(Step),
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is made or extended, such as `table public.outbox`.
    pub what: String,
    /// What it is afterwards: `created`, `extended` or `applied`.
    pub done: &'static str,
    /// What is sent, as one query.
    pub sql: String,
}

impl InitPlan {
    /// The changes in order; none if everything exists.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.lines.iter().filter_map(|line| match line {
            Line::Step(step) => Some(step),
            _ => None,
        })
    }

    fn step(&mut self, done: &'static str, what: String, sql: String) {
        self.lines.push(Line::Step(Step { what, done, sql }));
    }
}

/// As `init --dry-run` prints it: a script for psql, with everything that is no SQL as a comment.
impl fmt::Display for InitPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            match line {
                Line::Step(step) => write!(f, "-- {}\n{}\n\n", step.what, step.sql.trim_end())?,
                other => writeln!(f, "-- {other}\n")?,
            }
        }
        self.problems.iter().try_for_each(|problem| writeln!(f, "-- problem: {problem}\n"))
    }
}

/// As `init` prints it.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Found(what) => write!(f, "found {what}"),
            Line::Note(what) => write!(f, "note: {what}"),
            Line::Warning(what) => write!(f, "warning: {what}"),
            Line::Step(step) => write!(f, "{} {}", step.done, step.what),
        }
    }
}

/// How `init` makes a table that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// As one table.
    #[default]
    Plain,
    /// In monthly partitions by `created_at`.
    Monthly,
}

/// Decides what `init` has to do: whatever is missing is made, whatever is there is left as it is, and whatever
/// is there but cannot serve is a problem.
pub fn plan(catalog: &CatalogSnapshot, names: &Names, write_back: bool, shape: Shape) -> InitPlan {
    let mut plan = InitPlan { lines: Vec::new(), problems: server_problems(&catalog.server) };
    if catalog.server.standby {
        plan.problems
            .push(Problem::new("the server is a standby", "run `postrider init` against the primary"));
    }
    plan.problems.extend(name_problems(names));
    if write_back {
        plan_schema(&mut plan, catalog);
    }
    plan_table(&mut plan, catalog, names, write_back, shape);
    plan_publication(&mut plan, catalog, names, write_back);
    plan_slot(&mut plan, catalog, names);
    plan
}

fn plan_schema(plan: &mut InitPlan, catalog: &CatalogSnapshot) {
    let role = &catalog.role.name;
    for privilege in &catalog.missing_privileges {
        plan.problems.push(Problem::new(
            format!("role {role} lacks {privilege}"),
            format!("GRANT {privilege} TO {}", identifier(role)),
        ));
    }
    let pending: Vec<_> =
        MIGRATIONS.iter().filter(|migration| !catalog.migrations.contains(&migration.version)).collect();
    if pending.is_empty() {
        plan.lines.push(Line::Found("schema postrider".to_owned()));
    } else if catalog.missing_privileges.is_empty() {
        need_create_in_database(plan, catalog, "schema postrider");
    }
    for migration in pending {
        let what = format!("schema postrider, migration {:04}_{}", migration.version, migration.name);
        plan.step("applied", what, migration.sql());
    }
}

fn plan_table(plan: &mut InitPlan, catalog: &CatalogSnapshot, names: &Names, write_back: bool, shape: Shape) {
    let name = &names.table;
    if let Some(there) = &catalog.table {
        plan.lines.push(Line::Found(format!("table {name}")));
        plan.problems.extend(table_problems(there, names, write_back));
        if shape == Shape::Monthly && there.kind == "r" {
            plan.problems.push(Problem::new(
                format!("table {name} is there already and is not partitioned"),
                "run `postrider init` without --partitioned, or set postgres.table to another name",
            ));
        }
        plan_partitions(plan, catalog, there, names);
        let (warnings, notes) = advice(there, names, catalog.server.month, write_back);
        plan.lines.extend(warnings.into_iter().map(Line::Warning).chain(notes.into_iter().map(Line::Note)));
        return;
    }
    let mut sql = match shape {
        Shape::Plain => migrations::outbox(names, catalog.server.version_num),
        Shape::Monthly => migrations::outbox_partitioned(
            names,
            catalog.server.version_num,
            months_ahead(catalog.server.month),
        ),
    };
    let schema = identifier(&name.schema);
    match &catalog.table_schema {
        None => {
            need_create_in_database(plan, catalog, &format!("schema {}", name.schema));
            sql = format!("create schema if not exists {schema};\n{sql}");
        }
        Some(there) if !there.create || !there.usage => {
            let role = &catalog.role.name;
            plan.problems.push(Problem::new(
                format!("role {role} may not create tables in schema {}", name.schema),
                format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {}", identifier(role)),
            ));
        }
        Some(_) => {}
    }
    let what = match shape {
        Shape::Plain => format!("table {name}"),
        Shape::Monthly => format!("table {name}, in monthly partitions"),
    };
    plan.step("created", what, sql);
}

/// Of a table whose partitions are those of `init`, the months to come that have none.
fn plan_partitions(plan: &mut InitPlan, catalog: &CatalogSnapshot, table: &CatalogTable, names: &Names) {
    let missing = missing_months(&table.partitions, catalog.server.month);
    if missing.is_empty() {
        return;
    }
    if !table.owned {
        plan.problems.push(Problem::new(
            format!(
                "role {} does not own table {} and may not add partitions to it",
                catalog.role.name, names.table
            ),
            "run `postrider init` as its owner, or as a member of that role",
        ));
    }
    for month in missing {
        let what = format!("partition {} of {}", month.partition(&names.table), names.table);
        plan.step("created", what, month.create_sql(&names.table));
    }
}

/// The publication of the outbox table and, with write-back, of `postrider.replay`.
fn plan_publication(plan: &mut InitPlan, catalog: &CatalogSnapshot, names: &Names, write_back: bool) {
    let (name, role) = (&names.publication, &catalog.role.name);
    let covered = catalog.publication.as_ref().is_some_and(|there| there.published_table.is_some());
    if !covered && catalog.table.as_ref().is_some_and(|table| !table.owned) {
        plan.problems.push(Problem::new(
            format!("role {role} does not own table {} and may not publish it", names.table),
            "run `postrider init` as its owner, or as a member of that role",
        ));
    }
    let publishes_replay = catalog.publication.as_ref().is_some_and(|there| there.replay || there.all_tables);
    if write_back && !publishes_replay && catalog.owns_replay == Some(false) {
        plan.problems.push(Problem::new(
            format!("role {role} does not own table {REPLAY} and cannot publish it"),
            "run `postrider init` as its owner, or as a member of that role",
        ));
    }
    let Some(there) = &catalog.publication else {
        need_create_in_database(plan, catalog, &format!("publication {name}"));
        let replay = if write_back { format!(", {REPLAY}") } else { String::new() };
        let sql = format!(
            "create publication {} for table {}{replay} with (publish = 'insert', publish_via_partition_root = true);\n",
            identifier(name),
            table(&names.table)
        );
        return plan.step("created", format!("publication {name}"), sql);
    };
    plan.lines.push(Line::Found(format!("publication {name}")));
    plan.problems.extend(publication_problems(there, catalog.table.as_ref(), names));
    plan.lines.extend(publication_notes(there, names).into_iter().map(Line::Note));
    if write_back && !publishes_replay {
        if !there.owned {
            plan.problems.push(Problem::new(
                format!("role {role} does not own publication {name} and cannot add table {REPLAY} to it"),
                "run `postrider init` as its owner, or set postgres.publication to another name",
            ));
        }
        let sql = format!("alter publication {} add table {REPLAY};\n", identifier(name));
        plan.step("extended", format!("publication {name} by table {REPLAY}"), sql);
    }
    // A new table comes into a publication for all tables by itself.
    if covered || (there.all_tables && catalog.table.is_none()) {
        return;
    }
    if there.all_tables {
        plan.problems.push(Problem::new(
            format!("publication {name} does not publish table {}", names.table),
            "set postgres.publication to another name",
        ));
        return;
    }
    if !there.owned {
        plan.problems.push(Problem::new(
            format!(
                "role {role} does not own publication {name} and may not add table {} to it",
                names.table
            ),
            "run `postrider init` as its owner, or set postgres.publication to another name",
        ));
    }
    let sql = format!("alter publication {} add table {};\n", identifier(name), table(&names.table));
    plan.step("extended", format!("publication {name} by table {}", names.table), sql);
}

/// Replay requests are rows of this table, which reach the relay through the publication.
const REPLAY: &str = "postrider.replay";

fn plan_slot(plan: &mut InitPlan, catalog: &CatalogSnapshot, names: &Names) {
    let name = &names.slot;
    if let Some(there) = &catalog.slot {
        plan.lines.push(Line::Found(format!("slot {name}")));
        plan.problems.extend(slot_problems(there, &catalog.server, names));
        if there.failover == Some(false) {
            plan.lines.push(Line::Note(format!(
                "slot {name} is not failover-enabled: a standby that is promoted does not have it"
            )));
        }
        return;
    }
    if !catalog.role.replication {
        plan.problems.push(replication_problem(&catalog.role.name));
    }
    if catalog.server.slots >= catalog.server.slots_max {
        plan.problems.push(Problem::new(
            format!("all {} replication slots are taken", catalog.server.slots_max),
            "ALTER SYSTEM SET max_replication_slots to more and restart the server, or drop a slot that is not used",
        ));
    }
    let failover = if catalog.server.version_num >= 170_000 { ", failover => true" } else { "" };
    let sql =
        format!("select pg_create_logical_replication_slot({}, 'pgoutput'{failover});\n", literal(name));
    plan.step("created", format!("slot {name}"), sql);
}

fn need_create_in_database(plan: &mut InitPlan, catalog: &CatalogSnapshot, what: &str) {
    if !catalog.role.create_in_database {
        let (role, database) = (&catalog.role.name, &catalog.server.database);
        plan.problems.push(Problem::new(
            format!("role {role} may not create {what} in database {database}"),
            format!("GRANT CREATE ON DATABASE {} TO {}", identifier(database), identifier(role)),
        ));
    }
}
