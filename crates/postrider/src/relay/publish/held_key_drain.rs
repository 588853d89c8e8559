//! Publishing the rows that waited behind a failed row, in order.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use anyhow::Result;
use outbox::OrderingKey;
use reconciler::{ResendCause, ResendCommand, ResendOutcome, ResendQueue, SessionClosed};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::info;
use uuid::Uuid;

use crate::relay::publish::held_keys::Drain;
use crate::relay::store::Store;

/// Rows of one key that are resent at once.
const PAGE_ROWS_MAX: usize = 100;

/// Keys that are drained at once, so that a key with many rows does not delay the others.
const DRAINS_MAX: usize = 8;

/// A waiting row that another resend command has in flight is read again after this time.
const IN_FLIGHT_RETRY_AFTER: Duration = Duration::from_millis(100);

type Running = Pin<Box<dyn Future<Output = Result<DrainOutcome>>>>;

/// The drains under way.
pub(crate) struct HeldKeyDrains {
    store: Store,
    resends: ResendQueue,
    running: Vec<Running>,
}

pub(crate) enum DrainOutcome {
    /// No row of the key waits any more.
    Drained(OrderingKey),
    /// A waiting row failed as well, and the rest of the key waits behind it.
    Blocked(OrderingKey),
}

impl HeldKeyDrains {
    pub(crate) fn new(store: Store, resends: ResendQueue) -> Self {
        HeldKeyDrains { store, resends, running: Vec::new() }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.running.len() < DRAINS_MAX
    }

    /// Starts a drain, which [`next_finished`](Self::next_finished) drives. `skipped` is completed once
    /// the release of the key is durable.
    pub(crate) fn start(&mut self, drain: Drain, skipped: Option<oneshot::Sender<ResendOutcome>>) {
        self.running.push(Box::pin(run(self.store.clone(), self.resends.clone(), drain, skipped)));
    }

    /// Waits until a drain finishes; for ever if none runs. Cancel-safe.
    pub(crate) async fn next_finished(&mut self) -> Result<DrainOutcome> {
        poll_fn(|context| {
            for index in 0..self.running.len() {
                if let Poll::Ready(outcome) = self.running[index].as_mut().poll(context) {
                    drop(self.running.swap_remove(index));
                    return Poll::Ready(outcome);
                }
            }
            Poll::Pending
        })
        .await
    }
}

async fn run(
    store: Store,
    resends: ResendQueue,
    drain: Drain,
    skipped: Option<oneshot::Sender<ResendOutcome>>,
) -> Result<DrainOutcome> {
    let Drain { key, released_head } = drain;
    if let Some(row) = released_head {
        store.release_head(row).await?;
        info!(topic = key.topic, released_head = %row, "held key released; publishing its waiting rows");
    }
    if let Some(skipped) = skipped {
        let _ = skipped.send(ResendOutcome::Done);
    }
    loop {
        let waiting = store.waiting_events(&key, PAGE_ROWS_MAX).await?;
        if waiting.is_empty() {
            return Ok(DrainOutcome::Drained(key));
        }
        let mut outcomes: Vec<(Uuid, oneshot::Receiver<ResendOutcome>)> = Vec::new();
        for event in waiting {
            let id = event.id;
            let command = ResendCommand::Resend { event, cause: ResendCause::HeldKey };
            match resends.submit(command).await {
                Ok(outcome) => outcomes.push((id, outcome)),
                Err(SessionClosed) => return session_closed().await,
            }
        }
        let (mut finished, mut failed) = (Vec::new(), Vec::new());
        let mut is_blocked = false;
        for (id, outcome) in outcomes {
            match outcome.await {
                Ok(ResendOutcome::Done) => finished.push(id),
                Ok(ResendOutcome::Failed(_)) => failed.push(id),
                Ok(ResendOutcome::Held) => is_blocked = true,
                Ok(ResendOutcome::AlreadyInFlight | ResendOutcome::NothingHeld) => {
                    sleep(IN_FLIGHT_RETRY_AFTER).await
                }
                Err(_) => return session_closed().await,
            }
        }
        store.remove_held(finished).await?;
        if !failed.is_empty() {
            store.remove_failed(failed).await?;
        }
        if is_blocked {
            return Ok(DrainOutcome::Blocked(key));
        }
    }
}

/// The session drops this future together with the main loop.
async fn session_closed() -> Result<DrainOutcome> {
    std::future::pending().await
}
