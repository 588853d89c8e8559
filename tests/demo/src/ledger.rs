//! What the shop committed and took back, with the time of each commit.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use shop::{Ledger, OutboxRow};
use uuid::Uuid;

use crate::proof::Sold;

/// Keeps every row's fate in memory.
#[derive(Debug, Default)]
pub(crate) struct Books(Mutex<Entries>);

/// What is in the books.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    pub(crate) sold: Vec<Sold>,
    /// When each of `sold` was committed.
    pub(crate) committed_at: Vec<Instant>,
    pub(crate) rolled_back: Vec<Uuid>,
    pub(crate) in_doubt: Vec<Uuid>,
}

impl Books {
    pub(crate) fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many rows are committed so far.
    pub(crate) fn committed(&self) -> usize {
        self.entries().sold.len()
    }

    /// How many of them no record can be made of.
    pub(crate) fn malformed(&self) -> usize {
        self.entries().sold.iter().filter(|sold| !sold.well_formed).count()
    }
}

impl Ledger for Books {
    fn committed(&self, rows: &[OutboxRow], at: Instant) {
        let mut entries = self.entries();
        for row in rows {
            entries.sold.push(Sold {
                id: row.id,
                topic: row.topic(),
                key: row.key().to_owned(),
                well_formed: row.is_well_formed(),
            });
            entries.committed_at.push(at);
        }
    }

    fn rolled_back(&self, rows: &[OutboxRow]) {
        self.entries().rolled_back.extend(rows.iter().map(|row| row.id));
    }

    fn in_doubt(&self, rows: &[OutboxRow]) {
        self.entries().in_doubt.extend(rows.iter().map(|row| row.id));
    }
}
