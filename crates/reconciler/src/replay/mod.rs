//! Carrying out requests to send rows again, one after the other.

mod account;
mod announcement;
mod connection;
mod execute;
mod feed;
mod nuisance;
mod pace;
mod queue;
mod unfound;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use outbox::Lsn;
use uuid::Uuid;

pub use announcement::{MalformedAnnouncement, parse_announcement};
pub use execute::execute_replays;
use nuisance::Nuisance;

/// What the log has told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// A request.
    Request(Told),
    /// Requests that were too many to be told of one by one: they are looked for in the table.
    Missed(Missed),
}

/// A request that the log has told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The request.
    pub id: Uuid,
    /// The message's transaction.
    pub xid: Option<u32>,
    /// Where the message stands: what the log brought before is settled before the request begins.
    pub lsn: Lsn,
}

/// What is known of requests that were too many to be told of one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Where the last of the messages stands.
    pub lsn: Lsn,
    /// The first and the last of the transactions, as their numbers go round.
    pub xids: Option<(u32, u32)>,
}

impl Missed {
    /// One request that was missed.
    pub fn of(told: &Told) -> Self {
        Missed { lsn: told.lsn, xids: told.xid.map(|xid| (xid, xid)) }
    }

    /// These and those.
    #[must_use]
    pub fn and(self, other: Missed) -> Self {
        let is_before = |a: u32, b: u32| a.wrapping_sub(b) > u32::MAX / 2;
        let xids = match (self.xids, other.xids) {
            (Some((first, last)), Some((other_first, other_last))) => Some((
                if is_before(other_first, first) { other_first } else { first },
                if is_before(last, other_last) { other_last } else { last },
            )),
            (known, None) | (None, known) => known,
        };
        Missed { lsn: self.lsn.max(other.lsn), xids }
    }
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
    malformed: Nuisance,
    unknown: Nuisance,
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
        self.malformed.count()
    }

    /// Announcements of requests that there are not.
    pub fn unknown(&self) -> u64 {
        self.unknown.count()
    }

    /// Counts an announcement that [`parse_announcement`] refused. `Some` where it is time to say so: how many there
    /// were since that was said last.
    pub fn count_malformed(&self) -> Option<u64> {
        self.malformed.add(Instant::now())
    }

    fn count_unknown(&self) -> Option<u64> {
        self.unknown.add(Instant::now())
    }
}
