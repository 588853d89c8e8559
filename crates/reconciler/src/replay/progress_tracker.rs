use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use outbox_store::{ReplayProgress, StoreError, is_replay_wanted, save_replay};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use uuid::Uuid;

use crate::replay::connection::{Connection, ask_once};
use crate::replay::counts::ReplayCounts;
use crate::replay::row_feed::Awaited;
use crate::resend_command::Outcome;

/// Counts rows in the order in which they were planned, so that what is noted is always a beginning of the whole.
pub(super) struct Account<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) counts: Arc<ReplayCounts>,
    pub(super) request: Uuid,
    pub(super) progress: ReplayProgress,
    saved: ReplayProgress,
    /// The row whose outcome is waited for.
    front: Option<Awaited>,
}

/// Why counting ends.
pub(super) enum Counted {
    /// Everything that was planned is known.
    All,
    LifeOver,
    /// The request was called off.
    Cancelled,
    /// It cannot be noted how far it has come.
    Failed(StoreError),
}

impl<'a> Account<'a> {
    pub(super) fn new(
        connection: &'a mut Connection,
        counts: Arc<ReplayCounts>,
        request: Uuid,
        progress: ReplayProgress,
    ) -> Self {
        Account { connection, counts, request, progress, saved: progress, front: None }
    }

    /// Counts until no more are planned, and notes every now and then how far it has come.
    pub(super) async fn run(
        &mut self,
        planned: &mut mpsc::Receiver<Awaited>,
        save_every: Duration,
    ) -> Counted {
        let mut saving = interval_at(Instant::now() + save_every, save_every);
        saving.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Outcomes may come without a pause.
            tokio::select! {
                biased;
                _ = saving.tick() => match self.save().await {
                    Ok(true) => {}
                    Ok(false) => return Counted::Cancelled,
                    Err(error) if !error.is_retryable() => return Counted::Failed(error),
                    Err(error) => self.connection.tell(&error),
                },
                more = self.count(planned) => match more {
                    Ok(true) => {}
                    Ok(false) => return Counted::All,
                    Err(LifeEnded) => return Counted::LifeOver,
                },
            }
        }
    }

    /// Counts what is still known of what was planned; no more is.
    pub(super) async fn drain(&mut self, planned: &mut mpsc::Receiver<Awaited>) {
        planned.close();
        while let Ok(true) = self.count(planned).await {}
    }

    /// Notes how far it has come; answers whether the request is to go on.
    ///
    /// # Errors
    ///
    /// Any.
    pub(super) async fn save(&mut self) -> Result<bool, StoreError> {
        let (request, progress) = (self.request, self.progress);
        if progress == self.saved {
            return ask_once!(self.connection, session => is_replay_wanted(session, request));
        }
        let goes_on = ask_once!(self.connection, session => save_replay(session, request, &progress))?;
        self.saved = progress;
        Ok(goes_on)
    }

    /// Counts one row; false when no more are planned. Cancel-safe.
    async fn count(&mut self, planned: &mut mpsc::Receiver<Awaited>) -> Result<bool, LifeEnded> {
        if self.front.is_none() {
            self.front = planned.recv().await;
        }
        let Some(front) = &mut self.front else { return Ok(false) };
        let outcome = match &mut front.outcome {
            None => None,
            Some(outcome) => Some(outcome.await?),
        };
        match outcome {
            Some(Outcome::Done) => {
                self.progress.sent += 1;
                self.counts.sent.fetch_add(1, Ordering::Relaxed);
            }
            Some(Outcome::Refused(_)) => {
                self.progress.failed += 1;
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
            }
            None | Some(Outcome::OnItsWay | Outcome::InLine | Outcome::NothingHeld) => {
                self.progress.passed += 1
            }
        }
        self.progress.last = Some(front.key);
        self.front = None;
        Ok(true)
    }
}

/// What became of a row will not be known.
struct LifeEnded;

impl From<oneshot::error::RecvError> for LifeEnded {
    fn from(_: oneshot::error::RecvError) -> Self {
        LifeEnded
    }
}
