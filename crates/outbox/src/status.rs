//! The states of an outbox row.

use std::fmt;
use std::str::FromStr;

/// Where a row stands on its way. The order is the way: a row never goes back from a later state to an
/// earlier one; `Failed` lies outside it and is left only by a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Committed with the business change; set by the service's INSERT.
    Init,
    /// The broker acknowledged it; topic, partition and offset stand on the row.
    Publish,
    /// Consumed.
    Complete,
    /// Given up, with the reason on the row.
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

/// A text that is none of `INIT`, `PUBLISH`, `COMPLETE`, `FAILED`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no status; a row is INIT, PUBLISH, COMPLETE or FAILED")]
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

/// Whether an event that the server sends a second time after a restart is to be published again, given
/// what its row says now.
///
/// A row that says PUBLISH or COMPLETE was acknowledged by the broker, one that says FAILED was given up on
/// record: neither is sent. INIT may or may not have reached the broker, a row that is gone says nothing,
/// and nothing may be lost: both are sent.
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
