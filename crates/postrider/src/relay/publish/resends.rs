//! Planned work in flight, and who waits for its outcome.

use std::collections::{HashMap, HashSet};

use outbox::Token;
use reconciler::ResendOutcome;
use tokio::sync::oneshot;
use uuid::Uuid;

/// What was planned and is not yet done. A row is in flight once at a time.
#[derive(Default)]
pub(crate) struct PlannedWork {
    by_token: HashMap<Token, Waiting>,
    ids: HashSet<Uuid>,
}

struct Waiting {
    id: Uuid,
    done: oneshot::Sender<ResendOutcome>,
    /// What is to be told once it is durable.
    outcome: ResendOutcome,
}

impl PlannedWork {
    /// Whether there is none, so that nothing has to be looked up.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_token.is_empty()
    }

    /// Whether the row is in flight by somebody's plan.
    pub(crate) fn has(&self, id: Uuid) -> bool {
        self.ids.contains(&id)
    }

    pub(crate) fn begins(&mut self, token: Token, id: Uuid, done: oneshot::Sender<ResendOutcome>) {
        self.ids.insert(id);
        self.by_token.insert(token, Waiting { id, done, outcome: ResendOutcome::Done });
    }

    /// Whether the token is that of planned work.
    pub(crate) fn is_token(&self, token: Token) -> bool {
        self.by_token.contains_key(&token)
    }

    /// It will not end as it was planned.
    pub(crate) fn ends_as(&mut self, token: Token, outcome: ResendOutcome) {
        if let Some(waiting) = self.by_token.get_mut(&token) {
            waiting.outcome = outcome;
        }
    }

    /// It is durable: tells whoever waits. Returns the row where it was sent as planned.
    pub(crate) fn ended(&mut self, token: Token) -> Option<Uuid> {
        if self.is_empty() {
            return None;
        }
        let Waiting { id, done, outcome } = self.by_token.remove(&token)?;
        self.ids.remove(&id);
        let went_well = outcome == ResendOutcome::Done;
        // Nobody may be waiting any more.
        let _ = done.send(outcome);
        went_well.then_some(id)
    }
}
