//! The `init` command.

use anyhow::{Result, bail};
use outbox_store::{InitPlan, Names, Session, Shape, apply, connect, inspect, plan, waiting_rows};
use tracing::{error, warn};

use crate::config::Config;
use crate::stdout::say;

/// Makes what is missing in the database and says on standard output what it did and what it found; with
/// `dry_run` it prints the SQL instead, as a script for psql.
///
/// # Errors
///
/// The server cannot be reached or refuses something, or what is there cannot serve: then nothing is done.
pub(crate) async fn init(config: &Config, dry_run: bool, shape: Shape) -> Result<()> {
    let names = config.names();
    let session = connect(&config.postgres.connection, &config.postgres.tls).await?;
    let catalog = inspect(&session, &names).await?;
    let plan = plan(&catalog, &names, config.writeback, shape);
    if dry_run {
        say(&plan.to_string());
    }
    refuse(&plan)?;
    if dry_run {
        return Ok(());
    }
    apply(&session, &plan, |line| say(&format!("{line}\n"))).await?;
    if config.writeback && catalog.slot.is_none() && catalog.table.is_some() {
        warn_of_waiting_rows(&session, &names).await?;
    }
    Ok(())
}

/// A slot sends what is committed after it was made, and nothing from before.
async fn warn_of_waiting_rows(session: &Session, names: &Names) -> Result<()> {
    const COUNTED_MAX: i64 = 1000;
    let rows = waiting_rows(session, names, COUNTED_MAX).await?;
    if rows > 0 {
        let count = if rows == COUNTED_MAX { format!("{rows} or more") } else { rows.to_string() };
        warn!(
            "{} holds {count} rows that say INIT from before slot {} was made, which does not bring them: once they \
             are older than reconcile.init_after, `postrider run` finds them at its start and sends them, marked \
             postrider-replay. Rows that are not to be sent are to say FAILED or COMPLETE before that",
            names.table, names.slot
        );
    }
    Ok(())
}

fn refuse(plan: &InitPlan) -> Result<()> {
    for problem in &plan.problems {
        error!("{problem}");
    }
    match plan.problems.len() {
        0 => Ok(()),
        1 => bail!("nothing was done: there is a problem to be put right first"),
        count => bail!("nothing was done: there are {count} problems to be put right first"),
    }
}
