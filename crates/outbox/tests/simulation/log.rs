//! The write-ahead log, as far as logical decoding shows it.

use std::ops::Range;

use outbox::Lsn;

/// What one committed transaction left in the log, in the order of commit.
pub(crate) struct Committed {
    /// Where the commit record stands: BEGIN's `final_lsn`.
    pub(crate) final_lsn: Lsn,
    /// The position after it: COMMIT's `end_lsn`.
    pub(crate) end: Lsn,
    /// Its rows, as indices of [`Log::events`].
    pub(crate) events: Range<usize>,
}

pub(crate) struct Row {
    pub(crate) key: usize,
    pub(crate) bytes: usize,
}

pub(crate) struct Log {
    pub(crate) transactions: Vec<Committed>,
    /// All rows in the order of commit; the index is the event's name everywhere in the simulation.
    pub(crate) events: Vec<Row>,
    /// Per key its events, in the order of commit.
    pub(crate) keys: Vec<Vec<usize>>,
    /// Where records end: the only positions a server speaks of.
    boundaries: Vec<Lsn>,
}

const LOG_START: u64 = 0x100;

impl Log {
    pub(crate) fn new(keys: usize) -> Self {
        Log {
            transactions: Vec::new(),
            events: Vec::new(),
            keys: vec![Vec::new(); keys],
            boundaries: vec![Lsn::from_u64(LOG_START)],
        }
    }

    pub(crate) fn end(&self) -> Lsn {
        self.boundaries.last().copied().unwrap_or(Lsn::ZERO)
    }

    /// Records of other tables, of transactions rolled back, of vacuum: log without a row for us.
    pub(crate) fn other_work(&mut self, bytes: usize) {
        self.boundaries.push(Lsn::from_u64(self.end().to_u64() + bytes as u64));
    }

    /// The commit record follows what is there: two commits may be adjacent, the end of one being the
    /// `final_lsn` of the next.
    pub(crate) fn commit(&mut self, rows: Vec<Row>, commit_bytes: usize) {
        let first = self.events.len();
        for row in rows {
            self.keys[row.key].push(self.events.len());
            self.events.push(row);
        }
        let final_lsn = self.end();
        self.other_work(commit_bytes);
        let events = first..self.events.len();
        self.transactions.push(Committed { final_lsn, end: self.end(), events });
    }

    /// The positions from `low` to `high`, both included.
    pub(crate) fn boundaries(&self, low: Lsn, high: Lsn) -> &[Lsn] {
        let from = self.boundaries.partition_point(|at| *at < low);
        let to = self.boundaries.partition_point(|at| *at <= high);
        &self.boundaries[from..to.max(from)]
    }
}
