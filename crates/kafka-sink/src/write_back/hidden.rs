//! Rows that are committed in the log and cannot be seen yet.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use tokio::time::Instant;

use crate::Published;

// Between a commit's record in the log and its rows being seen lie microseconds, or, with synchronous
// replication, a standby's answer.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_secs(1);
const TELL_AFTER: Duration = Duration::from_secs(5);

/// Events whose rows a write-back did not find because the transaction that inserted them was not visible to
/// it. They are written again after a pause as long as they have been waiting, within bounds.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    events: Vec<Published>,
    due: Option<Instant>,
    /// Since when each transaction has been waited for.
    since: BTreeMap<u32, Instant>,
    is_told: bool,
}

impl Hidden {
    /// Keeps what a write-back did not see of transactions `unseen`, and returns what it did.
    pub(super) fn keep(&mut self, events: &[Published], unseen: &[u32], now: Instant) -> Vec<Published> {
        let is_unseen = |event: &Published| event.xid.is_some_and(|xid| unseen.contains(&xid));
        let (hidden, seen): (Vec<Published>, Vec<Published>) = events.iter().cloned().partition(is_unseen);
        for xid in seen.iter().filter_map(|event| event.xid) {
            self.since.remove(&xid);
        }
        for xid in unseen {
            let waited = now - *self.since.entry(*xid).or_insert(now);
            let due = now + waited.clamp(PAUSE_MIN, PAUSE_MAX);
            self.due = Some(self.due.map_or(due, |known| known.min(due)));
        }
        self.events.extend(hidden);
        self.tell(now);
        seen
    }

    /// When they are to be looked for again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What is to be written again now.
    pub(super) fn take(&mut self, now: Instant) -> Vec<Published> {
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        self.due = None;
        mem::take(&mut self.events)
    }

    fn tell(&mut self, now: Instant) {
        let is_long = self.since.values().any(|since| now - *since > TELL_AFTER);
        if is_long && !self.is_told {
            tracing::warn!(
                transactions = self.since.len(),
                "rows are committed in the log and not visible yet, so their delivery cannot be written back; \
                 waiting. Does their commit wait for a synchronous standby (pg_stat_activity, wait event SyncRep)?"
            );
        }
        self.is_told = is_long;
    }
}
