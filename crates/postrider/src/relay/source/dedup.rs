//! Deduplication after a restart or reconnect: events that another process may have published are looked up.

use std::collections::HashMap;
use std::future::Future;
use std::mem;
use std::pin::Pin;

use anyhow::Result;
use outbox::{Event, Status, Token};
use uuid::Uuid;

type Statuses = HashMap<Uuid, Status>;
type Lookup = Pin<Box<dyn Future<Output = Result<Statuses>>>>;

/// Collects such events into windows and looks up one window at a time: one query per window, not per row. The next
/// window fills while a lookup runs, so its size follows the backlog, within the in-flight limits.
#[derive(Default)]
pub(crate) struct Deduplicator {
    next: Vec<Pending>,
    running: Option<RunningLookup>,
}

struct Pending {
    token: Token,
    event: Event,
    /// Whether another process may have published it; otherwise it only keeps its place behind those.
    needs_lookup: bool,
}

struct RunningLookup {
    window: Vec<Pending>,
    lookup: Lookup,
}

/// An event and its row's status; `None` if there is no such row or it was not looked up.
pub(crate) type Resolved = (Token, Event, Option<Status>);

impl Deduplicator {
    /// Adds an event, in commit order.
    pub(crate) fn push(&mut self, token: Token, event: Event, needs_lookup: bool) {
        self.next.push(Pending { token, event, needs_lookup });
    }

    /// Starts to look up what was pushed, unless a lookup runs.
    pub(crate) fn start_lookup(&mut self, lookup: impl FnOnce(Vec<Uuid>) -> Lookup) {
        if self.running.is_some() || self.next.is_empty() {
            return;
        }
        let window = mem::take(&mut self.next);
        let ids: Vec<Uuid> =
            window.iter().filter(|pending| pending.needs_lookup).map(|pending| pending.event.id).collect();
        let lookup = if ids.is_empty() { Box::pin(async { Ok(Statuses::new()) }) } else { lookup(ids) };
        self.running = Some(RunningLookup { window, lookup });
    }

    /// Waits for the running lookup; for ever if there is none. Cancel-safe.
    pub(crate) async fn next_resolved(&mut self) -> Result<Vec<Resolved>> {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let statuses = running.lookup.as_mut().await;
        let window = self.running.take().map_or_else(Vec::new, |running| running.window);
        let statuses = statuses?;
        let resolve = |pending: Pending| {
            let status = statuses.get(&pending.event.id).copied();
            (pending.token, pending.event, status)
        };
        Ok(window.into_iter().map(resolve).collect())
    }
}
