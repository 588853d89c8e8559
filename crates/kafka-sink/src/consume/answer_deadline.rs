//! A timeout that every answer extends.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// A timeout since the last answer, and the first error since then.
pub(crate) struct AnswerDeadline {
    timeout: Duration,
    since: Instant,
    reason: Option<String>,
}

impl AnswerDeadline {
    pub(crate) fn new(timeout: Duration) -> Self {
        AnswerDeadline { timeout, since: Instant::now(), reason: None }
    }

    /// An answer arrived.
    pub(crate) fn extend(&mut self) {
        self.since = Instant::now();
    }

    /// Notes an error. The first one names the cause of an outage; that all brokers are down follows from it.
    pub(crate) fn note(&mut self, error: &impl Display) {
        self.reason.get_or_insert_with(|| error.to_string());
    }

    /// The time left, `min` at least.
    pub(crate) fn left(&self, min: Duration) -> Duration {
        self.timeout.saturating_sub(self.since.elapsed()).max(min)
    }

    /// # Errors
    ///
    /// The timeout has passed; with the first error noted.
    pub(crate) fn check(&mut self) -> Result<(), Option<String>> {
        if self.since.elapsed() < self.timeout { Ok(()) } else { Err(self.reason.take()) }
    }
}
