//! What the relay asks the database outside the stream: at its start, and about events sent again.

use std::collections::HashMap;

use anyhow::{Result, bail};
use outbox::Status;
use outbox_store::{
    Names, RunCheck, RunNeeds, Session, StoreError, Tls, check_for_run, connect, leave_out_sql, statuses,
    table_oid,
};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};
use uuid::Uuid;

use super::outage::{Pauses, TELL_AGAIN_AFTER};

/// Asks on a connection of its own, made for each question: questions are rare.
#[derive(Clone)]
pub(super) struct Rows {
    pub(super) postgres: tokio_postgres::Config,
    pub(super) tls: Tls,
    pub(super) names: Names,
}

impl Rows {
    /// Checks that everything the relay needs is there.
    ///
    /// # Errors
    ///
    /// All that is missing, each with its remedy.
    pub(super) async fn check(&self, needs: RunNeeds) -> Result<RunCheck> {
        let check = self.patiently(async |session| check_for_run(session, &self.names, needs).await).await?;
        for note in &check.notes {
            info!("{note}");
        }
        if check.problems.is_empty() {
            return Ok(check);
        }
        let list: String = check.problems.iter().map(|problem| format!("\n  - {problem}")).collect();
        bail!("the database is not ready for the relay:{list}")
    }

    /// The outbox table's OID.
    pub(super) async fn table_oid(&self) -> Result<Option<u32>> {
        self.patiently(async |session| table_oid(session, &self.names).await).await
    }

    /// The statement with which a person leaves a row out.
    pub(super) fn leave_out_sql(&self, id: Uuid) -> String {
        leave_out_sql(&self.names, id)
    }

    /// What the rows of these ids say; one that is gone, or says none of our words, is left out.
    pub(super) async fn statuses(self, ids: Vec<Uuid>) -> Result<HashMap<Uuid, Status>> {
        let found = self.patiently(async |session| statuses(session, &self.names, &ids).await).await?;
        Ok(found.into_iter().filter_map(|(id, status)| Some((id, status?))).collect())
    }

    /// Waits out whatever passes.
    async fn patiently<T>(&self, question: impl AsyncFn(&Session) -> Result<T, StoreError>) -> Result<T> {
        let mut pauses = Pauses::default();
        let mut told: Option<Instant> = None;
        loop {
            let answer = match connect(&self.postgres, &self.tls).await {
                Ok(session) => question(&session).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(answer) => {
                    if told.is_some() {
                        info!("PostgreSQL answers again");
                    }
                    return Ok(answer);
                }
                Err(error) if error.is_definite() => return Err(error.into()),
                Err(error) => {
                    if told.is_none_or(|told| told.elapsed() > TELL_AGAIN_AFTER) {
                        warn!("PostgreSQL cannot be asked: {error}; waiting");
                        told = Some(Instant::now());
                    }
                }
            }
            sleep(pauses.next()).await;
        }
    }
}
