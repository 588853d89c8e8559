use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote::identifier;
use crate::connection::session::Session;
use crate::setup::catalog::CatalogSnapshot;
use crate::setup::inspect::inspect;
use crate::setup::migrations::MIGRATIONS;
use crate::setup::preflight::needs::RunNeeds;
use crate::setup::preflight::problem::Problem;
use crate::setup::preflight::stream_problems::{
    name_problems, publication_notes, publication_problems, replication_problem, server_problems,
    slot_problems,
};
use crate::setup::preflight::table_problems::{
    advice, privilege_problems, retention_problems, table_problems,
};

const INIT: &str = "run `postrider init`";
const NO_SLOT: &str = "run `postrider init`; if there was a slot before, rows that were committed since its \
                       last confirmed position stay INIT until the relay finds them at its start, once they are \
                       older than reconcile.init_after";

/// What stands between `run` and its work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunCheck {
    /// What has to be put right first; nothing when `run` can start.
    pub problems: Vec<Problem>,
    /// What works and could be better.
    pub notes: Vec<String>,
    /// Whether the table has partitions such as `init --partitioned` makes, which have to be kept ahead.
    pub partitioned: bool,
}

/// Looks at everything that `run` needs. Changes nothing.
///
/// # Errors
///
/// As of any query; transient also where the server is a standby, which is what a failover looks like for a
/// while.
pub async fn check_for_run(
    session: &Session,
    names: &Names,
    needs: RunNeeds,
) -> Result<RunCheck, StoreError> {
    let catalog = inspect(session, names).await?;
    if catalog.server.standby {
        return Err(StoreError::retryable("looking at what is in the database", "the server is a standby"));
    }
    Ok(problems_for_run(&catalog, names, needs))
}

/// Decides from what is in the database whether `run` can start.
pub fn problems_for_run(catalog: &CatalogSnapshot, names: &Names, needs: RunNeeds) -> RunCheck {
    let mut check = RunCheck { problems: server_problems(&catalog.server), ..RunCheck::default() };
    check.problems.extend(name_problems(names));
    let role = &catalog.role.name;
    if !catalog.role.replication {
        check.problems.push(replication_problem(role));
    }
    check_table(&mut check, catalog, names, needs);
    check_publication(&mut check, catalog, names, needs.write_back);
    match &catalog.slot {
        None => check.problems.push(Problem::new(format!("there is no slot {}", names.slot), NO_SLOT)),
        Some(slot) => check.problems.extend(slot_problems(slot, &catalog.server, names)),
    }
    if needs.write_back {
        for privilege in &catalog.missing_privileges {
            check.problems.push(Problem::new(
                format!("role {role} lacks {privilege}"),
                format!("GRANT {privilege} TO {}", identifier(role)),
            ));
        }
        let pending = MIGRATIONS.iter().find(|migration| !catalog.migrations.contains(&migration.version));
        if let Some(migration) = pending.filter(|_| catalog.missing_privileges.is_empty()) {
            check.problems.push(Problem::new(
                format!("schema postrider lacks migration {:04}_{}", migration.version, migration.name),
                INIT,
            ));
        }
    }
    check
}

fn check_table(check: &mut RunCheck, catalog: &CatalogSnapshot, names: &Names, needs: RunNeeds) {
    let write_back = needs.write_back;
    let Some(table) = &catalog.table else {
        let what = format!("there is no table {}", names.table);
        return check.problems.push(Problem::new(what, INIT));
    };
    let role = &catalog.role.name;
    if write_back && catalog.table_schema.as_ref().is_some_and(|schema| !schema.usage) {
        let schema = &names.table.schema;
        check.problems.push(Problem::new(
            format!("role {role} may not use schema {schema}"),
            format!("GRANT USAGE ON SCHEMA {} TO {}", identifier(schema), identifier(role)),
        ));
    }
    check.problems.extend(table_problems(table, names, write_back));
    check.problems.extend(privilege_problems(table, names, role, needs));
    check.partitioned = table.partitions.iter().any(|partition| partition.month.is_some());
    if needs.retention {
        check.problems.extend(retention_problems(table, names));
    }
    let (warnings, notes) = advice(table, names, catalog.server.month, write_back);
    check.notes.extend(warnings.into_iter().chain(notes));
}

fn check_publication(check: &mut RunCheck, catalog: &CatalogSnapshot, names: &Names, write_back: bool) {
    let name = &names.publication;
    let Some(publication) = &catalog.publication else {
        return check.problems.push(Problem::new(format!("there is no publication {name}"), INIT));
    };
    if publication.published_table.is_none() && catalog.table.is_some() {
        check
            .problems
            .push(Problem::new(format!("publication {name} does not publish table {}", names.table), INIT));
    }
    if write_back && catalog.owns_replay.is_some() && !publication.replay {
        check.problems.push(Problem::new(
            format!(
                "publication {name} does not publish postrider.replay, so no replay request reaches the relay"
            ),
            format!(
                "ALTER PUBLICATION {} ADD TABLE postrider.replay, or run `postrider init`",
                identifier(name)
            ),
        ));
    }
    check.problems.extend(publication_problems(publication, catalog.table.as_ref(), names));
    check.notes.extend(publication_notes(publication, names));
}
