//! The read position, and what a reconnect brings again.

use crate::lsn::Lsn;

/// The position in the stream, kept across connections, so that transactions and events that a new connection brings
/// again are recognized without a lookup.
///
/// The server decodes the changes of a transaction in the same order every time. The number of events already seen of
/// an incomplete transaction therefore determines which ones are new.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    read: Lsn,
    incomplete: Option<Incomplete>,
    reading: Reading,
}

#[derive(Clone, Copy, Debug)]
struct Incomplete {
    final_lsn: Lsn,
    events: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    BetweenTransactions,
    New,
    /// The first `events` events of the incomplete transaction are repetitions.
    Repeated {
        events: u64,
    },
    /// The whole transaction is a repetition.
    AlreadyRead,
}

/// How a transaction that begins relates to what has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransactionStart {
    New,
    /// A connection was lost within it.
    Resumed,
    /// It was read to its end.
    AlreadyRead,
}

impl Cursor {
    pub(crate) fn new(from: Lsn) -> Self {
        Cursor { read: from, incomplete: None, reading: Reading::BetweenTransactions }
    }

    /// The end of the last transaction read completely: where a new connection starts.
    pub(crate) fn read(&self) -> Lsn {
        self.read
    }

    pub(crate) fn reconnected(&mut self) {
        self.reading = Reading::BetweenTransactions;
    }

    pub(crate) fn begin(&mut self, final_lsn: Lsn) -> TransactionStart {
        let (reading, start) = match self.incomplete {
            _ if final_lsn < self.read => (Reading::AlreadyRead, TransactionStart::AlreadyRead),
            Some(seen) if seen.final_lsn == final_lsn => {
                (Reading::Repeated { events: seen.events }, TransactionStart::Resumed)
            }
            _ => {
                self.incomplete = Some(Incomplete { final_lsn, events: 0 });
                (Reading::New, TransactionStart::New)
            }
        };
        self.reading = reading;
        start
    }

    /// Whether the event is seen for the first time; `None` outside a transaction.
    pub(crate) fn event(&mut self) -> Option<bool> {
        match &mut self.reading {
            Reading::BetweenTransactions => return None,
            Reading::AlreadyRead => return Some(false),
            Reading::Repeated { events } if *events > 0 => {
                *events -= 1;
                return Some(false);
            }
            Reading::Repeated { .. } | Reading::New => {}
        }
        if let Some(incomplete) = &mut self.incomplete {
            incomplete.events += 1;
        }
        Some(true)
    }

    /// Whether the transaction's end is seen for the first time; `None` outside a transaction.
    pub(crate) fn commit(&mut self, end: Lsn) -> Option<bool> {
        let reading = std::mem::replace(&mut self.reading, Reading::BetweenTransactions);
        match reading {
            Reading::BetweenTransactions => None,
            Reading::AlreadyRead => Some(false),
            Reading::New | Reading::Repeated { .. } => {
                self.incomplete = None;
                self.read = self.read.max(end);
                Some(true)
            }
        }
    }

    /// The server has sent everything before `end`. Inside a transaction, or while one is incomplete, this does not
    /// move the read position.
    pub(crate) fn keepalive(&mut self, end: Lsn) {
        if self.incomplete.is_none() && self.reading == Reading::BetweenTransactions {
            self.read = self.read.max(end);
        }
    }
}
