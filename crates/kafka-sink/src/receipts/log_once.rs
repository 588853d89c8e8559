//! Conditions that are logged once.

use std::collections::BTreeSet;

/// The conditions that were logged and still hold.
#[derive(Debug, Default)]
pub(super) struct LogOnce(BTreeSet<String>);

impl LogOnce {
    /// Whether to log the condition: it was not logged since it was last cleared.
    pub(super) fn is_new(&mut self, condition: impl Into<String>) -> bool {
        self.0.insert(condition.into())
    }

    /// The condition does not hold any more.
    pub(super) fn clear(&mut self, condition: &str) {
        self.0.remove(condition);
    }
}
