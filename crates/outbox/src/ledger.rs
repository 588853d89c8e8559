//! Every event between the WAL and the confirmed flush position.

use slab::Slab;

use crate::cursor::{Cursor, TransactionStart};
use crate::lsn::Lsn;
use crate::progress::{Progress, Transaction};
use crate::status::{Status, needs_publish};

/// Bounds on the events in flight: read and not yet settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlightLimits {
    /// The most events.
    pub events_max: usize,
    /// Once this many bytes are in flight, no further event is admitted; the newest one may exceed it.
    pub bytes_max: usize,
}

/// The initial values of an [`InFlightLedger`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerOptions {
    /// The slot's confirmed flush position. A lower one is wrong: after a crash the server may resend transactions
    /// from before it, and its first keepalives may carry earlier positions.
    pub confirmed: Lsn,
    /// Whether an event is settled by its write-back, or already by the broker's acknowledgement.
    pub write_back: bool,
    /// The bounds on the events in flight.
    pub limits: InFlightLimits,
}

/// Identifies an event in flight until it is settled; then the token is reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(usize);

impl Token {
    /// The number that a producer attaches to a record.
    pub const fn to_usize(self) -> usize {
        self.0
    }

    /// From the number in a delivery report.
    pub const fn from_usize(number: usize) -> Self {
        Token(number)
    }
}

/// What the caller does with an event just read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Publish it.
    Publish(Token),
    /// A previous run may have published it: look up its row's status, and queue it and all later events until
    /// [`InFlightLedger::resolve_lookup`].
    LookupFirst(Token),
    /// It needs no lookup, but lookups of earlier events are pending: queue it behind them and resolve it with the
    /// status `None`.
    QueueBehindLookup(Token),
    /// It is in flight or settled already; a reconnect brought it again.
    AlreadySeen,
}

/// What the caller does with an event whose status lookup has completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupOutcome {
    /// Publish it.
    Publish,
    /// A previous run published it; it is settled.
    Skip,
}

/// The stream or a completion arrived in an impossible order; to continue would risk losing an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfOrder {
    /// A message of a transaction outside a transaction.
    #[error("the stream sent {0} outside a transaction")]
    OutsideTransaction(&'static str),
    /// A transaction inside another.
    #[error("the stream began the transaction ending at {0} inside another")]
    NestedTransaction(Lsn),
    /// A completion that does not fit the event's stage.
    #[error("event {token} was {done}, which it did not await")]
    Unexpected {
        /// The event's token.
        token: usize,
        /// The reported completion.
        done: &'static str,
    },
}

/// Tracks every event from the WAL to the confirmed flush position: which to publish, which are in flight, and which
/// position may be confirmed.
///
/// The caller carries out the decisions and reports the completions.
#[derive(Debug)]
pub struct InFlightLedger {
    progress: Progress,
    cursor: Cursor,
    entries: Slab<Entry>,
    bytes: usize,
    lookups: usize,
    in_transaction: Option<InTransaction>,
    horizon: Lsn,
    options: LedgerOptions,
}

#[derive(Clone, Copy, Debug)]
struct InTransaction {
    /// `None` if it was read to its end before.
    transaction: Option<Transaction>,
    needs_lookup: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// `None` for a resend: it holds back no confirmation.
    transaction: Option<Transaction>,
    bytes: usize,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    AwaitsLookup,
    Publishing,
    Acknowledged,
}

impl InFlightLedger {
    /// An empty ledger that reads from the confirmed flush position.
    pub fn new(options: LedgerOptions) -> Self {
        InFlightLedger {
            progress: Progress::new(options.confirmed),
            cursor: Cursor::new(options.confirmed),
            entries: Slab::new(),
            bytes: 0,
            lookups: 0,
            in_transaction: None,
            horizon: Lsn::ZERO,
            options,
        }
    }

    /// The position up to which the slot may be confirmed: the end of the longest prefix of transactions whose events
    /// are all settled. It never decreases and never passes an open transaction.
    pub fn confirmable(&self) -> Lsn {
        self.progress.confirmable()
    }

    /// The position from which to start streaming: the end of the last transaction read completely.
    pub fn read_position(&self) -> Lsn {
        self.cursor.read()
    }

    /// Whether the limits admit one more event.
    pub fn has_room(&self) -> bool {
        let InFlightLimits { events_max, bytes_max } = self.options.limits;
        self.entries.is_empty() || (self.entries.len() < events_max && self.bytes < bytes_max)
    }

    /// The number of events in flight.
    pub fn events_in_flight(&self) -> usize {
        self.entries.len()
    }

    /// The bytes of the events in flight.
    pub fn bytes_in_flight(&self) -> usize {
        self.bytes
    }

    /// A connection has acquired the slot and streams from [`read_position`](Self::read_position).
    ///
    /// `horizon` is the end of the WAL at that time. Any transaction that committed before it may have been published
    /// by the slot's previous owner (an earlier run, or another relay while the connection was lost); none after it.
    pub fn connected(&mut self, horizon: Lsn) {
        self.cursor.reconnected();
        self.in_transaction = None;
        self.horizon = self.horizon.max(horizon);
    }

    /// A transaction begins whose commit record is at `final_lsn`.
    pub fn begin(&mut self, final_lsn: Lsn) -> Result<(), OutOfOrder> {
        if self.in_transaction.is_some() {
            return Err(OutOfOrder::NestedTransaction(final_lsn));
        }
        let transaction = match self.cursor.begin(final_lsn) {
            TransactionStart::AlreadyRead => None,
            TransactionStart::Resumed => self.progress.open(),
            TransactionStart::New => Some(self.progress.begin()),
        };
        self.in_transaction = Some(InTransaction { transaction, needs_lookup: final_lsn < self.horizon });
        Ok(())
    }

    /// An outbox row of the current transaction, of `bytes` bytes.
    pub fn event(&mut self, bytes: usize) -> Result<Admission, OutOfOrder> {
        let outside = OutOfOrder::OutsideTransaction("an insert");
        let Some(InTransaction { transaction, needs_lookup }) = self.in_transaction else {
            return Err(outside);
        };
        let is_new = self.cursor.event().ok_or(outside)?;
        let Some(transaction) = transaction.filter(|_| is_new) else { return Ok(Admission::AlreadySeen) };
        let needs_lookup = self.options.write_back && needs_lookup;
        // Behind pending lookups, so that the events of a key are published in commit order.
        let is_queued = needs_lookup || self.lookups > 0;
        let stage = if is_queued { Stage::AwaitsLookup } else { Stage::Publishing };
        let token = Token(self.entries.insert(Entry { transaction: Some(transaction), bytes, stage }));
        self.progress.event(transaction);
        self.bytes += bytes;
        if is_queued {
            self.lookups += 1;
        }
        Ok(match (needs_lookup, is_queued) {
            (true, _) => Admission::LookupFirst(token),
            (false, true) => Admission::QueueBehindLookup(token),
            (false, false) => Admission::Publish(token),
        })
    }

    /// The current transaction ends at `end`, the position after its commit record.
    pub fn commit(&mut self, end: Lsn) -> Result<(), OutOfOrder> {
        let outside = OutOfOrder::OutsideTransaction("a commit");
        self.in_transaction.take().ok_or(outside.clone())?;
        if self.cursor.commit(end).ok_or(outside)? {
            self.progress.commit(end);
        }
        Ok(())
    }

    /// The server has sent everything before `end`.
    pub fn keepalive(&mut self, end: Lsn) {
        self.progress.keepalive(end);
        self.cursor.keepalive(end);
    }

    /// Admits an event of `bytes` bytes that is published again on request and does not come from the stream. It counts
    /// towards the limits and holds back no confirmation: after a crash the requester has to repeat it.
    pub fn resend(&mut self, bytes: usize) -> Token {
        let entry = Entry { transaction: None, bytes, stage: Stage::Publishing };
        self.bytes += bytes;
        Token(self.entries.insert(entry))
    }

    /// The lookup of an event's row has completed; `None` if there is no such row.
    pub fn resolve_lookup(&mut self, token: Token, row: Option<Status>) -> Result<LookupOutcome, OutOfOrder> {
        self.expect(token, Stage::AwaitsLookup, "looked up")?;
        self.lookups -= 1;
        if needs_publish(row) {
            self.entries[token.0].stage = Stage::Publishing;
            return Ok(LookupOutcome::Publish);
        }
        self.settle(token);
        Ok(LookupOutcome::Skip)
    }

    /// The broker acknowledged the event, or it was failed or held; that is not yet durable in its row. Without
    /// write-back this settles the event.
    pub fn acknowledged(&mut self, token: Token) -> Result<(), OutOfOrder> {
        self.expect(token, Stage::Publishing, "acknowledged")?;
        self.entries[token.0].stage = Stage::Acknowledged;
        if !self.options.write_back {
            self.settle(token);
        }
        Ok(())
    }

    /// The event's row update is durable.
    pub fn written(&mut self, token: Token) -> Result<(), OutOfOrder> {
        self.expect(token, Stage::Acknowledged, "written back")?;
        self.settle(token);
        Ok(())
    }

    fn expect(&self, token: Token, stage: Stage, done: &'static str) -> Result<(), OutOfOrder> {
        match self.entries.get(token.0) {
            Some(entry) if entry.stage == stage => Ok(()),
            _ => Err(OutOfOrder::Unexpected { token: token.0, done }),
        }
    }

    fn settle(&mut self, token: Token) {
        let entry = self.entries.remove(token.0);
        self.bytes -= entry.bytes;
        if let Some(transaction) = entry.transaction {
            self.progress.settle(transaction);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ledger_counts_a_resend_and_holds_back_no_confirmation() {
        let limits = InFlightLimits { events_max: 1, bytes_max: 100 };
        let mut ledger =
            InFlightLedger::new(LedgerOptions { confirmed: Lsn::ZERO, write_back: true, limits });
        let resend = ledger.resend(10);
        assert!(!ledger.has_room());
        ledger.keepalive(Lsn::from_u64(7));
        assert_eq!(ledger.confirmable(), Lsn::from_u64(7));
        ledger.acknowledged(resend).expect("it was published");
        ledger.written(resend).expect("it was acknowledged");
        assert_eq!((ledger.events_in_flight(), ledger.bytes_in_flight()), (0, 0));
        assert_eq!(ledger.confirmable(), Lsn::from_u64(7));
    }
}
