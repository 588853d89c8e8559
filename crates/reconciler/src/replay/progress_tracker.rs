use std::time::Duration;

use outbox_store::{ReplayProgress, StoreError, is_replay_wanted, save_replay};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use uuid::Uuid;

use crate::replay::connection::{ReplayConnection, once};
use crate::replay::row_feed::SubmittedRow;
use crate::resend_command::{ResendOutcome, SessionClosed};

/// Counts the outcomes of rows in the order in which they were submitted, so that the progress that is saved is always
/// a prefix of the selection: every row up to the last one counted is finished.
pub(super) struct ReplayProgressTracker<'a> {
    pub(super) connection: &'a mut ReplayConnection,
    pub(super) request: Uuid,
    pub(super) progress: ReplayProgress,
    saved: ReplayProgress,
    /// The row whose outcome is awaited.
    front: Option<SubmittedRow>,
}

/// Why tracking ended.
pub(super) enum TrackingEnd {
    /// The outcome of every submitted row is counted.
    Complete,
    SessionClosed,
    Cancelled,
    /// The progress cannot be saved.
    Failed(StoreError),
}

impl<'a> ReplayProgressTracker<'a> {
    pub(super) fn new(connection: &'a mut ReplayConnection, request: Uuid, progress: ReplayProgress) -> Self {
        ReplayProgressTracker { connection, request, progress, saved: progress, front: None }
    }

    /// Counts until no more rows are submitted, and saves the progress at this interval.
    pub(super) async fn run(
        &mut self,
        submitted: &mut mpsc::Receiver<SubmittedRow>,
        save_every: Duration,
    ) -> TrackingEnd {
        let mut save_tick = interval_at(Instant::now() + save_every, save_every);
        save_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Biased: a steady stream of outcomes must not starve saving.
            tokio::select! {
                biased;
                _ = save_tick.tick() => match self.save().await {
                    Ok(true) => {}
                    Ok(false) => return TrackingEnd::Cancelled,
                    Err(error) if !error.is_retryable() => return TrackingEnd::Failed(error),
                    Err(error) => self.connection.log_outage(&error),
                },
                counted = self.count(submitted) => match counted {
                    Ok(true) => {}
                    Ok(false) => return TrackingEnd::Complete,
                    Err(SessionClosed) => return TrackingEnd::SessionClosed,
                },
            }
        }
    }

    /// Counts the outcomes of the rows that are submitted already.
    pub(super) async fn drain(&mut self, submitted: &mut mpsc::Receiver<SubmittedRow>) {
        submitted.close();
        while let Ok(true) = self.count(submitted).await {}
    }

    /// Saves the progress. Returns false if the request was cancelled.
    ///
    /// # Errors
    ///
    /// As of any query.
    pub(super) async fn save(&mut self) -> Result<bool, StoreError> {
        let (request, progress) = (self.request, self.progress);
        if progress == self.saved {
            return once!(self.connection, session => is_replay_wanted(session, request));
        }
        let is_wanted = once!(self.connection, session => save_replay(session, request, &progress))?;
        self.saved = progress;
        Ok(is_wanted)
    }

    /// Counts one row; false when no more are submitted. Cancel-safe.
    async fn count(&mut self, submitted: &mut mpsc::Receiver<SubmittedRow>) -> Result<bool, SessionClosed> {
        if self.front.is_none() {
            self.front = submitted.recv().await;
        }
        let Some(front) = &mut self.front else { return Ok(false) };
        let outcome = match &mut front.outcome {
            None => None,
            Some(outcome) => Some(outcome.await.map_err(|_| SessionClosed)?),
        };
        match outcome {
            Some(ResendOutcome::Done) => self.progress.sent += 1,
            Some(ResendOutcome::Failed(_)) => self.progress.failed += 1,
            None
            | Some(ResendOutcome::AlreadyInFlight | ResendOutcome::Held | ResendOutcome::NothingHeld) => {
                self.progress.passed += 1;
            }
        }
        self.progress.last = Some(front.key);
        self.front = None;
        Ok(true)
    }
}
