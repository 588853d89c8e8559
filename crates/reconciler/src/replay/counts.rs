use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::replay::throttled_warning::Nuisance;

/// What has been counted since the process began.
#[derive(Debug, Default)]
pub struct ReplayCounts {
    pub(super) sent: AtomicU64,
    pub(super) failed: AtomicU64,
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

    pub(super) fn count_unknown(&self) -> Option<u64> {
        self.unknown.add(Instant::now())
    }
}
