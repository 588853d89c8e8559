//! One round of checks: its connection, and its commands.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use outbox::CreatedRange;
use outbox_store::{EventRows, Session, StoreError, StuckRows};
use tokio::sync::oneshot;
use tokio::time::timeout;
use uuid::Uuid;

use crate::deadlines::tracker::DeadlineTracker;
use crate::resend_command::{ResendCommand, ResendOutcome, ResendQueue, SessionClosed};
use crate::stuck::options::ReconcileOptions;
use crate::stuck::resend_backoff::ResendBackoff;
use crate::stuck::round_error::RoundError;
use crate::stuck::round_summary::{CommandKind, RoundSummary};
use outbox_store::Database;

/// Rows per page, without their payloads.
pub(super) const PAGE_ROWS_MAX: u16 = 500;

/// Rows in memory with their payloads, which may be large.
pub(super) const FULL_ROWS_MAX: usize = 50;

// The connection is not kept while a round waits longer than this: an outage of Kafka may last for hours.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// What every round works with.
pub(super) struct RoundContext<E> {
    pub(super) database: Database,
    pub(super) evidence: E,
    pub(super) options: ReconcileOptions,
    pub(super) backoff: ResendBackoff,
    pub(super) deadlines: DeadlineTracker,
    pub(super) resends: ResendQueue,
}

/// The rows that still wait after a round.
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
        self.created = Some(self.created.map_or(created, |range| range.and(created)));
    }

    pub(super) fn add_backing_off(&mut self, created_at_us: Option<i64>, again_after: Duration) {
        self.add(1, CreatedRange::of(created_at_us));
        self.again_after = Some(self.again_after.map_or(again_after, |sooner| sooner.min(again_after)));
    }
}

pub(super) struct Round<'a, E> {
    pub(super) context: &'a RoundContext<E>,
    /// Whether this is the scan for rows that were not counted.
    pub(super) is_startup: bool,
    pub(super) summary: RoundSummary,
    session: Option<Arc<Session>>,
    stuck_rows: Option<Arc<StuckRows>>,
    event_rows: Option<Arc<EventRows>>,
}

impl<'a, E> Round<'a, E> {
    pub(super) fn new(context: &'a RoundContext<E>, is_startup: bool) -> Self {
        let summary = RoundSummary::default();
        Round { context, is_startup, summary, session: None, stuck_rows: None, event_rows: None }
    }

    pub(super) async fn session(&mut self) -> Result<Arc<Session>, StoreError> {
        if let Some(session) = self.session.as_ref().filter(|session| !session.is_closed()) {
            return Ok(session.clone());
        }
        let session = Arc::new(self.context.database.connect().await?);
        self.session = Some(session.clone());
        Ok(session)
    }

    pub(super) async fn stuck_rows(&mut self) -> Result<Arc<StuckRows>, StoreError> {
        if let Some(rows) = &self.stuck_rows {
            return Ok(rows.clone());
        }
        let rows = Arc::new(StuckRows::new(&*self.session().await?, &self.context.database.names).await?);
        self.stuck_rows = Some(rows.clone());
        Ok(rows)
    }

    pub(super) async fn event_rows(&mut self) -> Result<Arc<EventRows>, StoreError> {
        if let Some(rows) = &self.event_rows {
            return Ok(rows.clone());
        }
        let rows = Arc::new(EventRows::new(&*self.session().await?, &self.context.database.names).await?);
        self.event_rows = Some(rows.clone());
        Ok(rows)
    }

    /// Submits commands in this order, and waits for all of their outcomes.
    pub(super) async fn submit(&mut self, commands: Vec<ResendCommand>) -> Result<(), RoundError> {
        let resends = self.context.resends.clone();
        let submitting = async {
            let mut submitted: Vec<(Uuid, CommandKind, oneshot::Receiver<ResendOutcome>)> = Vec::new();
            for command in commands {
                let (id, kind) = (command.id(), CommandKind::of(&command));
                submitted.push((id, kind, resends.submit(command).await?));
            }
            let mut outcomes = Vec::new();
            for (id, kind, outcome) in submitted {
                outcomes.push((id, kind, outcome.await.map_err(|_| SessionClosed)?));
            }
            Ok::<_, SessionClosed>(outcomes)
        };
        for (id, kind, outcome) in self.without_idle_connection(submitting).await? {
            self.summary.add(id, kind, &outcome);
        }
        Ok(())
    }

    /// Waits for a future that may take long, and closes the connection if it does.
    pub(super) async fn without_idle_connection<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        if let Ok(output) = timeout(IDLE_MAX, &mut future).await {
            return output;
        }
        self.session = None;
        future.await
    }
}
