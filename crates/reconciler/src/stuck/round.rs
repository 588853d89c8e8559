//! One round of work: its connection, and planning with an eye on what becomes of it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use outbox::CreatedRange;
use outbox_store::{EventRows, Session, StoreError, StuckRows, connect};
use tokio::sync::oneshot;
use tokio::time::timeout;
use uuid::Uuid;

use crate::database::Database;
use crate::deadlines::tracker::Account;
use crate::resend_command::{LifeOver, Outcome, Publisher, Work};
use crate::stuck::options::ReconcileOptions;
use crate::stuck::resend_backoff::Backoff;
use crate::stuck::round_error::Trouble;
use crate::stuck::round_summary::{Plan, Said};

/// How many rows are read at a time, without their payloads.
pub(super) const PAGE_ROWS_MAX: u16 = 500;

/// How many rows are in memory at a time with their payloads, which may be large.
pub(super) const FULL_ROWS_MAX: usize = 50;

// Waiting for longer than that, the connection is not kept: an outage of Kafka may last for hours.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// What every round works with.
pub(super) struct Reconciler<B> {
    pub(super) database: Database,
    pub(super) broker: B,
    pub(super) options: ReconcileOptions,
    pub(super) backoff: Backoff,
    pub(super) account: Account,
    pub(super) publisher: Publisher,
}

/// What waits on after a round.
#[derive(Debug, Default)]
pub(super) struct Remaining {
    pub(super) rows: u64,
    pub(super) created: Option<CreatedRange>,
    /// When the first of them may be sent again.
    pub(super) again_after: Option<Duration>,
}

impl Remaining {
    pub(super) fn add(&mut self, rows: u64, created: CreatedRange) {
        self.rows = self.rows.saturating_add(rows);
        self.created = Some(self.created.map_or(created, |known| known.and(created)));
    }

    pub(super) fn add_later(&mut self, created_at_us: Option<i64>, again_after: Duration) {
        self.add(1, CreatedRange::of(created_at_us));
        self.again_after = Some(self.again_after.map_or(again_after, |sooner| sooner.min(again_after)));
    }
}

pub(super) struct Round<'a, B> {
    pub(super) of: &'a Reconciler<B>,
    /// Whether this is the look at what earlier lives have left.
    pub(super) is_start: bool,
    pub(super) said: Said,
    session: Option<Arc<Session>>,
    stuck_rows: Option<Arc<StuckRows>>,
    event_rows: Option<Arc<EventRows>>,
}

impl<'a, B> Round<'a, B> {
    pub(super) fn new(of: &'a Reconciler<B>, is_start: bool) -> Self {
        Round { of, is_start, said: Said::default(), session: None, stuck_rows: None, event_rows: None }
    }

    pub(super) async fn session(&mut self) -> Result<Arc<Session>, StoreError> {
        if let Some(session) = self.session.as_ref().filter(|session| !session.is_closed()) {
            return Ok(session.clone());
        }
        let session = Arc::new(connect(&self.of.database.config, &self.of.database.tls).await?);
        self.session = Some(session.clone());
        Ok(session)
    }

    pub(super) async fn stuck_rows(&mut self) -> Result<Arc<StuckRows>, StoreError> {
        if let Some(rows) = &self.stuck_rows {
            return Ok(rows.clone());
        }
        let rows = Arc::new(StuckRows::new(&*self.session().await?, &self.of.database.names).await?);
        self.stuck_rows = Some(rows.clone());
        Ok(rows)
    }

    pub(super) async fn event_rows(&mut self) -> Result<Arc<EventRows>, StoreError> {
        if let Some(rows) = &self.event_rows {
            return Ok(rows.clone());
        }
        let rows = Arc::new(EventRows::new(&*self.session().await?, &self.of.database.names).await?);
        self.event_rows = Some(rows.clone());
        Ok(rows)
    }

    /// Hands work to the pump, in this order, and waits until all of it is known to be done.
    pub(super) async fn plan(&mut self, works: Vec<(Uuid, Plan, Work)>) -> Result<(), Trouble> {
        let publisher = self.of.publisher.clone();
        let planning = async {
            let mut planned: Vec<(Uuid, Plan, oneshot::Receiver<Outcome>)> = Vec::new();
            for (id, plan, work) in works {
                planned.push((id, plan, publisher.plan(work).await?));
            }
            let mut outcomes = Vec::new();
            for (id, plan, outcome) in planned {
                outcomes.push((id, plan, outcome.await.map_err(|_| LifeOver)?));
            }
            Ok::<_, LifeOver>(outcomes)
        };
        for (id, plan, outcome) in self.patiently(planning).await? {
            self.said.outcome(id, plan, &outcome);
        }
        Ok(())
    }

    /// Waits for something that may take long.
    pub(super) async fn patiently<T>(&mut self, waiting: impl Future<Output = T>) -> T {
        let mut waiting = pin!(waiting);
        if let Ok(done) = timeout(IDLE_MAX, &mut waiting).await {
            return done;
        }
        self.session = None;
        waiting.await
    }
}
