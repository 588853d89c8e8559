//! The `init` command.

use anyhow::{Result, bail};
use outbox_store::{InitPlan, Names, Session, Shape, apply, connect, inspect, plan, waiting_rows};
use tracing::{error, warn};

use crate::config::Config;
use crate::stdout::print;

/// Creates what is missing in the database and prints what it did and what it found. With `dry_run` it prints the SQL as
/// a script for psql instead.
///
/// # Errors
///
/// The server cannot be reached or rejects a statement, or an existing object cannot serve; in the latter case nothing is
/// changed.
pub(crate) async fn init(config: &Config, dry_run: bool, shape: Shape) -> Result<()> {
    let names = config.names();
    let session = connect(&config.postgres.connection, &config.postgres.tls).await?;
    let catalog = inspect(&session, &names).await?;
    let plan = plan(&catalog, &names, config.writeback, shape);
    if dry_run {
        print(&plan.to_string());
    }
    reject(&plan)?;
    if dry_run {
        return Ok(());
    }
    apply(&session, &plan, |line| print(&format!("{line}\n"))).await?;
    if config.writeback && catalog.slot.is_none() && catalog.table.is_some() {
        warn_of_waiting_rows(&session, &names).await?;
    }
    Ok(())
}

/// A slot brings what commits after its creation only.
async fn warn_of_waiting_rows(session: &Session, names: &Names) -> Result<()> {
    const COUNTED_MAX: i64 = 1000;
    let rows = waiting_rows(session, names, COUNTED_MAX).await?;
    if rows > 0 {
        let count = if rows == COUNTED_MAX { format!("{rows} or more") } else { rows.to_string() };
        warn!(
            "{} holds {count} INIT rows from before slot {} was created, which does not bring them: once they are older \
             than reconcile.init_after, `postrider run` finds them at its start and publishes them with header \
             postrider-replay. Mark rows that must not be published FAILED or COMPLETE first",
            names.table, names.slot
        );
    }
    Ok(())
}

fn reject(plan: &InitPlan) -> Result<()> {
    for problem in &plan.problems {
        error!("{problem}");
    }
    match plan.problems.len() {
        0 => Ok(()),
        1 => bail!("nothing was done: fix the problem first"),
        count => bail!("nothing was done: fix the {count} problems first"),
    }
}
