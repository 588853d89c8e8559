//! Updates of rows whose transaction is in the WAL but not visible yet.

use std::collections::{BTreeMap, HashSet};
use std::mem;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::write_back::entry::WriteBackEntry;

/// A transaction becomes visible microseconds after its commit record is written or, with synchronous replication,
/// when a standby has answered.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_secs(1);
const WARN_AFTER: Duration = Duration::from_secs(5);

/// Entries whose rows a write did not find because the inserting transaction was not visible, and later entries of the
/// same rows. They are written again after a pause as long as the wait so far, within bounds.
#[derive(Debug, Default)]
pub(super) struct NotYetVisible {
    entries: Vec<WriteBackEntry>,
    ids: HashSet<Uuid>,
    due: Option<Instant>,
    /// Since when each transaction has been waited for.
    since: BTreeMap<u32, Instant>,
    warned: bool,
}

impl NotYetVisible {
    /// Keeps the entries of rows inserted by the transactions `unseen`, with all other entries of these rows, and
    /// returns the rest, which was written.
    pub(super) fn keep(
        &mut self,
        entries: Vec<WriteBackEntry>,
        unseen: &[u32],
        now: Instant,
    ) -> Vec<WriteBackEntry> {
        if unseen.is_empty() && self.since.is_empty() {
            return entries;
        }
        let is_unseen = |entry: &WriteBackEntry| entry.update.xid.is_some_and(|xid| unseen.contains(&xid));
        let ids: HashSet<Uuid> =
            entries.iter().filter(|entry| is_unseen(entry)).map(WriteBackEntry::id).collect();
        let (kept, seen): (Vec<WriteBackEntry>, Vec<WriteBackEntry>) =
            entries.into_iter().partition(|entry| ids.contains(&entry.id()));
        self.ids.extend(ids);
        for xid in seen.iter().filter_map(|entry| entry.update.xid) {
            self.since.remove(&xid);
        }
        for xid in unseen {
            let waited = now - *self.since.entry(*xid).or_insert(now);
            let due = now + waited.clamp(PAUSE_MIN, PAUSE_MAX);
            self.due = Some(self.due.map_or(due, |known| known.min(due)));
        }
        self.entries.extend(kept.into_iter().map(WriteBackEntry::for_rewrite));
        self.warn(now);
        seen
    }

    /// Keeps the entries of rows that wait here, to be written after those, and returns the others.
    pub(super) fn keep_behind(&mut self, entries: Vec<WriteBackEntry>) -> Vec<WriteBackEntry> {
        if self.ids.is_empty() {
            return entries;
        }
        let (behind, others): (Vec<WriteBackEntry>, Vec<WriteBackEntry>) =
            entries.into_iter().partition(|entry| self.ids.contains(&entry.id()));
        self.entries.extend(behind);
        others
    }

    pub(super) fn entries(&self) -> &[WriteBackEntry] {
        &self.entries
    }

    /// When the entries are written again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The entries, if they are due.
    pub(super) fn take(&mut self, now: Instant) -> Vec<WriteBackEntry> {
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        self.due = None;
        self.ids.clear();
        mem::take(&mut self.entries)
    }

    fn warn(&mut self, now: Instant) {
        let is_long = self.since.values().any(|since| now - *since > WARN_AFTER);
        if is_long && !self.warned {
            tracing::warn!(
                transactions = self.since.len(),
                "committed rows are not visible yet, so their status cannot be written; waiting. Check whether the \
                 commit waits for a synchronous standby (pg_stat_activity, wait event SyncRep)"
            );
        }
        self.warned = is_long;
    }
}
