//! What is durable.

use outbox::{Token, WriteBackSummary};

/// Updates that are durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The tokens of the updates.
    pub tokens: Vec<Token>,
    /// One for each batch that changed the number of PUBLISH rows.
    pub summaries: Vec<WriteBackSummary>,
}

impl Written {
    pub(super) fn append(&mut self, more: Written) {
        self.tokens.extend(more.tokens);
        self.summaries.extend(more.summaries);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.summaries.is_empty()
    }
}
