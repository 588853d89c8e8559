//! Where reading stands, and what a new connection brings a second time.

use crate::Lsn;

/// The reader's place in the stream, kept across connections so that what one of them brings again is
/// recognised without asking anybody.
///
/// The server decodes a transaction's changes in the same order every time, so how many events of an
/// unfinished transaction have been seen tells exactly which ones are new.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    read: Lsn,
    unfinished: Option<Unfinished>,
    reading: Reading,
}

#[derive(Clone, Copy, Debug)]
struct Unfinished {
    final_lsn: Lsn,
    events: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    BetweenTransactions,
    New,
    /// The first events of the unfinished transaction come again.
    Again {
        events: u64,
    },
    /// A transaction that has been read to its end comes again.
    Passed,
}

/// How a transaction that begins is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    New,
    Continued,
    Passed,
}

impl Cursor {
    pub(crate) fn new(from: Lsn) -> Self {
        Cursor { read: from, unfinished: None, reading: Reading::BetweenTransactions }
    }

    /// The end of the last transaction that was read whole: where a new connection starts.
    pub(crate) fn read(&self) -> Lsn {
        self.read
    }

    pub(crate) fn connected_again(&mut self) {
        self.reading = Reading::BetweenTransactions;
    }

    pub(crate) fn begin(&mut self, final_lsn: Lsn) -> Beginning {
        let (reading, beginning) = match self.unfinished {
            _ if final_lsn < self.read => (Reading::Passed, Beginning::Passed),
            Some(seen) if seen.final_lsn == final_lsn => {
                (Reading::Again { events: seen.events }, Beginning::Continued)
            }
            _ => {
                self.unfinished = Some(Unfinished { final_lsn, events: 0 });
                (Reading::New, Beginning::New)
            }
        };
        self.reading = reading;
        beginning
    }

    /// Whether the event is seen for the first time; `None` outside a transaction.
    pub(crate) fn event(&mut self) -> Option<bool> {
        match &mut self.reading {
            Reading::BetweenTransactions => return None,
            Reading::Passed => return Some(false),
            Reading::Again { events } if *events > 0 => {
                *events -= 1;
                return Some(false);
            }
            Reading::Again { .. } | Reading::New => {}
        }
        if let Some(unfinished) = &mut self.unfinished {
            unfinished.events += 1;
        }
        Some(true)
    }

    /// Whether the transaction that ends is seen to its end for the first time; `None` outside one.
    pub(crate) fn commit(&mut self, end: Lsn) -> Option<bool> {
        let reading = std::mem::replace(&mut self.reading, Reading::BetweenTransactions);
        match reading {
            Reading::BetweenTransactions => None,
            Reading::Passed => Some(false),
            Reading::New | Reading::Again { .. } => {
                self.unfinished = None;
                self.read = self.read.max(end);
                Some(true)
            }
        }
    }

    /// Everything before `end` has been read, there being no transaction under way.
    pub(crate) fn keepalive(&mut self, end: Lsn) {
        if self.unfinished.is_none() && self.reading == Reading::BetweenTransactions {
            self.read = self.read.max(end);
        }
    }
}
