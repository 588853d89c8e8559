//! A ledger that counts rows and optionally writes one JSON line per row.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;

use crate::{Ledger, OutboxRow};

/// How many outbox rows the shop wrote, by the outcome of their transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Rows of committed transactions.
    pub committed: u64,
    /// Rows rolled back with their transaction or to a savepoint.
    pub rolled_back: u64,
    /// Rows whose COMMIT was sent and not answered.
    pub in_doubt: u64,
}

/// Counts rows by outcome; with a file, also writes one JSON line per row: `fate` (`committed`, `rolled_back` or
/// `in_doubt`), `id`, `topic`, `key`.
#[derive(Debug, Default)]
pub struct CountingLedger {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    counts: RowCounts,
    file: Option<BufWriter<File>>,
    error: Option<io::Error>,
}

#[derive(Serialize)]
struct LedgerLine<'a> {
    fate: &'static str,
    id: String,
    topic: String,
    key: &'a str,
}

impl CountingLedger {
    /// A ledger that also writes every row to `file`.
    pub fn with_file(file: File) -> CountingLedger {
        let file = Some(BufWriter::new(file));
        CountingLedger { inner: Mutex::new(Inner { file, ..Inner::default() }) }
    }

    /// The counts so far.
    pub fn counts(&self) -> RowCounts {
        self.lock().counts
    }

    /// Flushes the file.
    ///
    /// # Errors
    /// The first write error since the file was opened; the file is then incomplete.
    pub fn finish(&self) -> io::Result<()> {
        let mut inner = self.lock();
        match inner.error.take() {
            Some(error) => Err(error),
            None => inner.file.as_mut().map_or(Ok(()), Write::flush),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn write_lines(&mut self, fate: &'static str, rows: &[OutboxRow]) {
        let Some(file) = &mut self.file else { return };
        for row in rows {
            let line = LedgerLine { fate, id: row.id.to_string(), topic: row.topic(), key: row.key() };
            let line = serde_json::to_string(&line).unwrap_or_default();
            if let Err(error) = writeln!(file, "{line}") {
                self.error.get_or_insert(error);
            }
        }
    }
}

impl Ledger for CountingLedger {
    fn committed(&self, rows: &[OutboxRow], _at: Instant) {
        let mut inner = self.lock();
        inner.counts.committed += rows.len() as u64;
        inner.write_lines("committed", rows);
    }

    fn rolled_back(&self, rows: &[OutboxRow]) {
        let mut inner = self.lock();
        inner.counts.rolled_back += rows.len() as u64;
        inner.write_lines("rolled_back", rows);
    }

    fn in_doubt(&self, rows: &[OutboxRow]) {
        let mut inner = self.lock();
        inner.counts.in_doubt += rows.len() as u64;
        inner.write_lines("in_doubt", rows);
    }
}
