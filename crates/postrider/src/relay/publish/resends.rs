//! Resend commands in flight, and the senders that wait for their outcome.

use std::collections::{HashMap, HashSet};

use outbox::Token;
use reconciler::ResendOutcome;
use tokio::sync::oneshot;
use uuid::Uuid;

/// Resend commands whose outcome is not durable yet. A row is in flight once at a time.
#[derive(Default)]
pub(crate) struct Resends {
    by_token: HashMap<Token, Resend>,
    ids: HashSet<Uuid>,
}

struct Resend {
    id: Uuid,
    done: oneshot::Sender<ResendOutcome>,
    /// Reported once the row update is durable.
    outcome: ResendOutcome,
}

impl Resends {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_token.is_empty()
    }

    /// Whether the row is in flight by another command.
    pub(crate) fn contains(&self, id: Uuid) -> bool {
        self.ids.contains(&id)
    }

    pub(crate) fn insert(&mut self, token: Token, id: Uuid, done: oneshot::Sender<ResendOutcome>) {
        self.ids.insert(id);
        self.by_token.insert(token, Resend { id, done, outcome: ResendOutcome::Done });
    }

    /// Changes the outcome that is reported for the token; no effect on live events.
    pub(crate) fn set_outcome(&mut self, token: Token, outcome: ResendOutcome) {
        if let Some(resend) = self.by_token.get_mut(&token) {
            resend.outcome = outcome;
        }
    }

    /// The row update is durable: reports the outcome. Returns the row if it was sent.
    pub(crate) fn complete(&mut self, token: Token) -> Option<Uuid> {
        if self.is_empty() {
            return None;
        }
        let Resend { id, done, outcome } = self.by_token.remove(&token)?;
        self.ids.remove(&id);
        let was_sent = outcome == ResendOutcome::Done;
        // The receiver may have been dropped.
        let _ = done.send(outcome);
        was_sent.then_some(id)
    }
}
