//! The checks before a session takes the slot.

use anyhow::{Result, bail};
use outbox_store::{Database, RunCheck, RunNeeds, Session, check_for_run};
use tracing::{info, warn};

use crate::config::Config;

/// Checks that the database has everything that the relay needs. Returns the connection for further start-up queries.
///
/// # Errors
///
/// Every problem at once, each with its remedy.
pub(super) async fn run(database: &Database, config: &Config) -> Result<(Session, RunCheck)> {
    let complete_after = config.retention.complete_after.filter(|_| config.writeback);
    if complete_after != config.retention.complete_after {
        warn!(
            "retention.complete_after has no effect: with writeback.enabled = false no row becomes COMPLETE"
        );
    }
    let needs = RunNeeds { write_back: config.writeback, retention: complete_after.is_some() };
    let check = async |session: &Session| check_for_run(session, &database.names, needs).await;
    let (session, check) = database.session_after(check).await?;
    for note in &check.notes {
        info!("{note}");
    }
    if check.problems.is_empty() {
        return Ok((session, check));
    }
    let problems: String = check.problems.iter().map(|problem| format!("\n  - {problem}")).collect();
    bail!("the database is not ready for the relay:{problems}")
}
