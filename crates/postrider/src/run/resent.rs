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
/// and the pipeline's limits allow.
#[derive(Default)]
pub(super) struct Resent {
    gathering: Vec<(Token, Event)>,
    asking: Option<Asking>,
}

struct Asking {
    window: Vec<(Token, Event)>,
    question: Question,
}

/// An event of a window and what its row says; `None` when there is no such row.
pub(super) type Answered = (Token, Event, Option<Status>);

impl Resent {
    pub(super) fn gather(&mut self, token: Token, event: Event) {
        self.gathering.push((token, event));
    }

    /// Asks for what has been gathered, unless a question is open.
    pub(super) fn ask(&mut self, ask: impl FnOnce(Vec<Uuid>) -> Question) {
        if self.asking.is_none() && !self.gathering.is_empty() {
            let window = mem::take(&mut self.gathering);
            let question = ask(window.iter().map(|(_, event)| event.id).collect());
            self.asking = Some(Asking { window, question });
        }
    }

    /// Waits for the open question's answer; for ever when there is none. Cancel-safe.
    pub(super) async fn answered(&mut self) -> Result<Vec<Answered>> {
        let Some(asking) = &mut self.asking else { return std::future::pending().await };
        let answer = asking.question.as_mut().await;
        let window = self.asking.take().map_or_else(Vec::new, |asking| asking.window);
        let rows = answer?;
        let answered = |(token, event): (Token, Event)| {
            let row = rows.get(&event.id).copied();
            (token, event, row)
        };
        Ok(window.into_iter().map(answered).collect())
    }
}
