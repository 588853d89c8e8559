//! Events that an earlier run may have published, kept in order until their rows have been asked for.

use std::collections::HashMap;
use std::future::Future;
use std::mem;
use std::pin::Pin;

use anyhow::Result;
use outbox::{Event, Status, Token};
use uuid::Uuid;

type Answer = HashMap<Uuid, Status>;
type Question = Pin<Box<dyn Future<Output = Result<Answer>>>>;

/// Gathers such events into windows and asks for one window at a time: one query per window, not per row.
/// While a window is being asked for, the next one gathers, so windows grow as large as the backlog wants
/// and the ledger's limits allow.
#[derive(Default)]
pub(crate) struct Resent {
    gathering: Vec<Kept>,
    asking: Option<Asking>,
}

struct Kept {
    token: Token,
    event: Event,
    /// Whether somebody else may have published it; otherwise it is only kept behind those.
    asks: bool,
}

struct Asking {
    window: Vec<Kept>,
    question: Question,
}

/// An event of a window and what its row says; `None` when there is no such row.
pub(crate) type Answered = (Token, Event, Option<Status>);

impl Resent {
    pub(crate) fn gather(&mut self, token: Token, event: Event, asks: bool) {
        self.gathering.push(Kept { token, event, asks });
    }

    /// Asks for what has been gathered, unless a question is open.
    pub(crate) fn ask(&mut self, ask: impl FnOnce(Vec<Uuid>) -> Question) {
        if self.asking.is_none() && !self.gathering.is_empty() {
            let window = mem::take(&mut self.gathering);
            let ids: Vec<Uuid> = window.iter().filter(|kept| kept.asks).map(|kept| kept.event.id).collect();
            let question = if ids.is_empty() { Box::pin(async { Ok(Answer::new()) }) } else { ask(ids) };
            self.asking = Some(Asking { window, question });
        }
    }

    /// Waits for the open question's answer; for ever when there is none. Cancel-safe.
    pub(crate) async fn answered(&mut self) -> Result<Vec<Answered>> {
        let Some(asking) = &mut self.asking else { return std::future::pending().await };
        let answer = asking.question.as_mut().await;
        let window = self.asking.take().map_or_else(Vec::new, |asking| asking.window);
        let rows = answer?;
        let answered = |kept: Kept| {
            let row = rows.get(&kept.event.id).copied();
            (kept.token, kept.event, row)
        };
        Ok(window.into_iter().map(answered).collect())
    }
}
