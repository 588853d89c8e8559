//! What the relay asks the database outside the stream: at its start, and about events sent again.

use std::collections::HashMap;

use anyhow::{Result, bail};
use outbox::{OrderingKey, RecordPosition, Status};
use outbox_store::{
    EventRows, HeldLane, Names, RunCheck, RunNeeds, Session, StoreError, StoredRow, Tls, check_for_run,
    connect, forget_held, known_partitions, load_lanes, release_head, statuses, table_oid, waiting_rows_of,
};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};
use uuid::Uuid;

use crate::config::Config;

use crate::relay::outage::{Pauses, TELL_AGAIN_AFTER};

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
    pub(super) async fn check(&self, config: &Config) -> Result<RunCheck> {
        let complete_after = config.retention.complete_after.filter(|_| config.writeback);
        if complete_after != config.retention.complete_after {
            warn!(
                "with writeback.enabled = false no row becomes COMPLETE, and retention.complete_after deletes none"
            );
        }
        let needs = RunNeeds { write_back: config.writeback, retention: complete_after.is_some() };
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

    /// The keys that are held back, as an earlier life left them.
    pub(super) async fn lanes(&self) -> Result<Vec<HeldLane>> {
        self.patiently(async |session| load_lanes(session, &self.names).await).await
    }

    /// The row is no longer at the head of its key.
    pub(super) async fn release_head(&self, id: Uuid) -> Result<Option<OrderingKey>> {
        self.patiently(async |session| release_head(session, &self.names, id).await).await
    }

    /// The first rows that wait in line.
    pub(super) async fn waiting(&self, lane: &OrderingKey, rows_max: usize) -> Result<Vec<StoredRow>> {
        self.patiently(async |session| {
            let columns = EventRows::new(session, &self.names).await?;
            waiting_rows_of(session, &self.names, &columns, lane, rows_max).await
        })
        .await
    }

    /// These rows wait no longer.
    pub(super) async fn forget_held(&self, ids: Vec<Uuid>) -> Result<()> {
        self.patiently(async |session| forget_held(session, &self.names, &ids).await.map(drop)).await
    }

    /// The partitions that were ever written to, with the highest offset written back of each.
    pub(super) async fn known_partitions(&self) -> Result<Vec<RecordPosition>> {
        self.patiently(async |session| known_partitions(session).await).await
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
                Err(error) if !error.is_retryable() => return Err(error.into()),
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
