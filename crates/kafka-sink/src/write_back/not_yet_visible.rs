//! Rows that are committed in the log and cannot be seen yet.

use std::collections::{BTreeMap, HashSet};
use std::mem;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::batch::Entry;

// Between a commit's record in the log and its rows being seen lie microseconds, or, with synchronous
// replication, a standby's answer.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_secs(1);
const TELL_AFTER: Duration = Duration::from_secs(5);

/// Entries whose rows a write-back did not find because the transaction that inserted them was not visible to
/// it, and what has come for these rows since. They are written again after a pause as long as they have been
/// waiting, within bounds.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    entries: Vec<Entry>,
    ids: HashSet<Uuid>,
    due: Option<Instant>,
    /// Since when each transaction has been waited for.
    since: BTreeMap<u32, Instant>,
    is_told: bool,
}

impl Hidden {
    /// Keeps what a write-back did not see of transactions `unseen`, with all else of these rows, and returns what it
    /// did see.
    pub(super) fn keep(&mut self, entries: Vec<Entry>, unseen: &[u32], now: Instant) -> Vec<Entry> {
        if unseen.is_empty() && self.since.is_empty() {
            return entries;
        }
        let is_unseen = |entry: &Entry| entry.xid().is_some_and(|xid| unseen.contains(&xid));
        let ids: HashSet<Uuid> = entries.iter().filter(|entry| is_unseen(entry)).map(Entry::id).collect();
        let (hidden, seen): (Vec<Entry>, Vec<Entry>) =
            entries.into_iter().partition(|entry| ids.contains(&entry.id()));
        self.ids.extend(ids);
        for xid in seen.iter().filter_map(Entry::xid) {
            self.since.remove(&xid);
        }
        for xid in unseen {
            let waited = now - *self.since.entry(*xid).or_insert(now);
            let due = now + waited.clamp(PAUSE_MIN, PAUSE_MAX);
            self.due = Some(self.due.map_or(due, |known| known.min(due)));
        }
        self.entries.extend(hidden.into_iter().map(Entry::again));
        self.tell(now);
        seen
    }

    /// Keeps those entries that are to be written after what waits here, and returns the others.
    pub(super) fn keep_behind(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        if self.ids.is_empty() {
            return entries;
        }
        let (behind, others): (Vec<Entry>, Vec<Entry>) =
            entries.into_iter().partition(|entry| self.ids.contains(&entry.id()));
        self.entries.extend(behind);
        others
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// When they are to be looked for again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What is to be written again now.
    pub(super) fn take(&mut self, now: Instant) -> Vec<Entry> {
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        self.due = None;
        self.ids.clear();
        mem::take(&mut self.entries)
    }

    fn tell(&mut self, now: Instant) {
        let is_long = self.since.values().any(|since| now - *since > TELL_AFTER);
        if is_long && !self.is_told {
            tracing::warn!(
                transactions = self.since.len(),
                "rows are committed in the log and not visible yet, so what became of them cannot be written back; \
                 waiting. Does their commit wait for a synchronous standby (pg_stat_activity, wait event SyncRep)?"
            );
        }
        self.is_told = is_long;
    }
}
