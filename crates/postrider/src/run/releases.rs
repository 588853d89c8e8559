//! Letting the rows of a key go that waited behind another.

use std::future::Future;
use std::pin::Pin;

use anyhow::Result;
use outbox::Lane;
use reconciler::{LifeOver, Origin, Outcome, Publisher, Work};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::lanes::Release;
use super::rows::Rows;

/// How many rows of a line are on their way at once.
const PAGE_ROWS_MAX: usize = 100;

/// Lets one lane go after the other.
pub(super) struct Releases {
    rows: Rows,
    publisher: Publisher,
    running: Option<Pin<Box<dyn Future<Output = Result<Released>>>>>,
}

/// How the release of a lane ended.
pub(super) enum Released {
    /// Nothing waits in line any more.
    Emptied(Lane),
    /// One of its rows could not be published either, and the rest waits behind that one.
    HeldAgain,
}

impl Releases {
    pub(super) fn new(rows: Rows, publisher: Publisher) -> Self {
        Releases { rows, publisher, running: None }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none()
    }

    /// Begins with a lane, which is gone on with in [`ended`](Self::ended); `skipped` is told once its head is durably out of the way.
    pub(super) fn start(&mut self, release: Release, skipped: Option<oneshot::Sender<Outcome>>) {
        let work = let_go(self.rows.clone(), self.publisher.clone(), release, skipped);
        self.running = Some(Box::pin(work));
    }

    /// Waits for the end of the release under way; for ever when there is none. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Result<Released> {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let ended = running.as_mut().await;
        self.running = None;
        ended
    }
}

async fn let_go(
    rows: Rows,
    publisher: Publisher,
    release: Release,
    skipped: Option<oneshot::Sender<Outcome>>,
) -> Result<Released> {
    let Release { lane, head } = release;
    if let Some(head) = head {
        rows.release_head(head).await?;
        tracing::info!(topic = lane.topic, %head, "the rows that waited behind this one go on");
    }
    if let Some(skipped) = skipped {
        let _ = skipped.send(Outcome::Done);
    }
    loop {
        let waiting = rows.waiting(&lane, PAGE_ROWS_MAX).await?;
        if waiting.is_empty() {
            return Ok(Released::Emptied(lane));
        }
        let mut outcomes: Vec<(Uuid, oneshot::Receiver<Outcome>)> = Vec::new();
        for row in waiting {
            let id = row.event.id;
            let planned = publisher.plan(Work::Send { event: row.event, origin: Origin::Held }).await;
            let Ok(outcome) = planned else { return life_over().await };
            outcomes.push((id, outcome));
        }
        let mut gone = Vec::new();
        let mut all_went = true;
        for (id, outcome) in outcomes {
            match outcome.await {
                Ok(Outcome::Done) => gone.push(id),
                Ok(_) => all_went = false,
                Err(_) => return life_over().await,
            }
        }
        rows.forget_held(gone).await?;
        if !all_went {
            return Ok(Released::HeldAgain);
        }
    }
}

/// The pump has ended and takes this task with it.
async fn life_over() -> Result<Released> {
    let LifeOver = LifeOver;
    std::future::pending().await
}
