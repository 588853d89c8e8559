//! Carrying out requests to send rows again, one after the other.

mod account;
mod announcement;
mod connection;
mod execute;
mod feed;
mod pace;
mod queue;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outbox::Lsn;
use uuid::Uuid;

pub use announcement::{MalformedAnnouncement, parse_announcement};
pub use execute::execute_replays;

/// A request that the log has told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The request.
    pub id: Uuid,
    /// The message's transaction.
    pub xid: Option<u32>,
    /// Where the message stands: what the log brought before is settled before the request begins.
    pub lsn: Lsn,
}

/// How requests are carried out.
#[derive(Clone, Copy, Debug)]
pub struct ReplayOptions {
    /// Nobody else publishes, the log is not read, and it is over once this request is finished.
    pub alone: Option<Uuid>,
    /// How often it is noted how far a request has come, and looked whether it was called off.
    pub save_every: Duration,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        ReplayOptions { alone: None, save_every: Duration::from_secs(1) }
    }
}

/// What has been counted since the process began.
#[derive(Debug, Default)]
pub struct ReplayCounts {
    sent: AtomicU64,
    failed: AtomicU64,
    malformed: AtomicU64,
    unknown: AtomicU64,
}

impl ReplayCounts {
    /// Rows that were sent again.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Rows that could not be sent again.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Announcements that name no request.
    pub fn malformed(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed)
    }

    /// Announcements of requests that there are not.
    pub fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }

    /// Counts an announcement that [`parse_announcement`] refused.
    pub fn count_malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }

    fn count_unknown(&self) {
        self.unknown.fetch_add(1, Ordering::Relaxed);
    }
}
