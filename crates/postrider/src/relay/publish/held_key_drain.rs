//! Letting the rows of a key go that waited behind another.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use anyhow::Result;
use outbox::OrderingKey;
use reconciler::{ResendCause, ResendCommand, ResendOutcome, ResendQueue, SessionClosed};
use tokio::sync::oneshot;
use tokio::time::sleep;
use uuid::Uuid;

use crate::relay::publish::held_keys::Release;
use crate::relay::store::Rows;

/// How many rows of a line are on their way at once.
const PAGE_ROWS_MAX: usize = 100;

/// How many lanes are let go at once: a long line is not to keep the others waiting.
const LANES_MAX: usize = 8;

/// A row of the line that somebody else has in hand is looked at again after this time.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

type Running = Pin<Box<dyn Future<Output = Result<Released>>>>;

/// Lets lanes go, a few at a time.
pub(crate) struct Releases {
    rows: Rows,
    resends: ResendQueue,
    running: Vec<Running>,
}

/// How the release of a lane ended.
pub(crate) enum Released {
    /// Nothing waits in line any more.
    Emptied(OrderingKey),
    /// One of its rows could not be published either, and the rest waits behind that one.
    HeldAgain(OrderingKey),
}

impl Releases {
    pub(crate) fn new(rows: Rows, resends: ResendQueue) -> Self {
        Releases { rows, resends, running: Vec::new() }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.running.len() < LANES_MAX
    }

    /// Begins with a lane, which is gone on with in [`ended`](Self::ended); `skipped` is told once its head is
    /// durably out of the way.
    pub(crate) fn start(&mut self, release: Release, skipped: Option<oneshot::Sender<ResendOutcome>>) {
        let work = let_go(self.rows.clone(), self.resends.clone(), release, skipped);
        self.running.push(Box::pin(work));
    }

    /// Waits for the end of one of those under way; for ever when there is none. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> Result<Released> {
        poll_fn(|context| {
            for index in 0..self.running.len() {
                if let Poll::Ready(ended) = self.running[index].as_mut().poll(context) {
                    drop(self.running.swap_remove(index));
                    return Poll::Ready(ended);
                }
            }
            Poll::Pending
        })
        .await
    }
}

async fn let_go(
    rows: Rows,
    resends: ResendQueue,
    release: Release,
    skipped: Option<oneshot::Sender<ResendOutcome>>,
) -> Result<Released> {
    let Release { lane, head } = release;
    if let Some(head) = head {
        rows.release_head(head).await?;
        tracing::info!(topic = lane.topic, %head, "the rows that waited behind this one go on");
    }
    if let Some(skipped) = skipped {
        let _ = skipped.send(ResendOutcome::Done);
    }
    loop {
        let waiting = rows.waiting(&lane, PAGE_ROWS_MAX).await?;
        if waiting.is_empty() {
            return Ok(Released::Emptied(lane));
        }
        let mut outcomes: Vec<(Uuid, oneshot::Receiver<ResendOutcome>)> = Vec::new();
        for row in waiting {
            let id = row.event.id;
            let planned =
                resends.submit(ResendCommand::Resend { event: row.event, cause: ResendCause::HeldKey }).await;
            let Ok(outcome) = planned else { return life_over().await };
            outcomes.push((id, outcome));
        }
        let mut gone = Vec::new();
        let mut is_held_again = false;
        for (id, outcome) in outcomes {
            match outcome.await {
                // One that could not be published and holds nothing up has stepped aside.
                Ok(ResendOutcome::Done | ResendOutcome::Failed(_)) => gone.push(id),
                Ok(ResendOutcome::Held) => is_held_again = true,
                Ok(ResendOutcome::AlreadyInFlight | ResendOutcome::NothingHeld) => {
                    sleep(LOOK_AGAIN_AFTER).await
                }
                Err(_) => return life_over().await,
            }
        }
        rows.forget_held(gone).await?;
        if is_held_again {
            return Ok(Released::HeldAgain(lane));
        }
    }
}

/// The pump has ended and takes this task with it.
async fn life_over() -> Result<Released> {
    let SessionClosed = SessionClosed;
    std::future::pending().await
}
