//! The states of an outbox row.

use std::fmt;
use std::str::FromStr;

/// The state of a row. States are ordered: a row never returns from a later state to an earlier one. `Failed` is outside
/// of this order; a row leaves it by a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Committed with the business change; set by the service's INSERT.
    Init,
    /// Acknowledged by the broker; the row holds topic, partition and offset.
    Publish,
    /// Consumed.
    Complete,
    /// Not published; `last_error` holds the reason.
    Failed,
}

impl Status {
    /// The text in the table's status column.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Init => "INIT",
            Status::Publish => "PUBLISH",
            Status::Complete => "COMPLETE",
            Status::Failed => "FAILED",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is none of `INIT`, `PUBLISH`, `COMPLETE`, `FAILED`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a status; the statuses are INIT, PUBLISH, COMPLETE and FAILED")]
pub struct ParseStatusError(String);

impl FromStr for Status {
    type Err = ParseStatusError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Status::Init, Status::Publish, Status::Complete, Status::Failed]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| ParseStatusError(text.to_owned()))
    }
}

/// Whether an event needs publishing, given the status of its row; `None` if there is no such row.
///
/// A PUBLISH or COMPLETE row was acknowledged by the broker, and a FAILED row records its failure: neither is published.
/// An INIT row may or may not have reached the broker, and a deleted row leaves no evidence: both are published, so that
/// nothing is lost.
pub fn needs_publish(row: Option<Status>) -> bool {
    match row {
        None | Some(Status::Init) => true,
        Some(Status::Publish | Status::Complete | Status::Failed) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_recorded_is_sent_again() {
        assert!(needs_publish(Some(Status::Init)));
        assert!(needs_publish(None));
        for done in [Status::Publish, Status::Complete, Status::Failed] {
            assert!(!needs_publish(Some(done)), "{done}");
        }
    }

    #[test]
    fn every_status_reads_as_it_is_written() {
        for status in [Status::Init, Status::Publish, Status::Complete, Status::Failed] {
            assert_eq!(status.to_string().parse(), Ok(status));
        }
        assert!("init".parse::<Status>().is_err());
    }
}
