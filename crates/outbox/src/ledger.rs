//! The account of every event between the log and the confirmation.

use slab::Slab;

use crate::cursor::{Beginning, Cursor};
use crate::progress::Transaction;
use crate::{Lsn, Progress, Status, resend_is_needed};

/// How much may be in flight: read and not yet settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most events.
    pub events_max: usize,
    /// How many bytes of events let no more in; the newest event may reach beyond.
    pub bytes_max: usize,
}

/// What a relay starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The slot's confirmed position. Less than that will not do: a server that comes back from a crash may
    /// send transactions from before it, and its first keepalives may lie before it.
    pub confirmed: Lsn,
    /// Whether an event is settled by its write-back, or already by the broker's acknowledgement.
    pub write_back: bool,
    /// The bound on what is in flight.
    pub limits: Limits,
}

/// Names an event in flight, until it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(usize);

impl Token {
    /// As the number a producer carries along with a record.
    pub const fn to_usize(self) -> usize {
        self.0
    }

    /// From the number a delivery report brings back.
    pub const fn from_usize(number: usize) -> Self {
        Token(number)
    }
}

/// What is to be done with an event just read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Publish it.
    Publish(Token),
    /// An earlier run may have published it: ask for its row's status first, and keep it and everything
    /// after it in order meanwhile.
    Ask(Token),
    /// Nobody else can have published it, but earlier events are being asked for: keep it behind them, and
    /// take it as one without a row.
    Behind(Token),
    /// It is in flight or settled already; a new connection brought it again.
    Drop,
}

/// What is to be done with an event whose row has been asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Publish it.
    Publish,
    /// It was published by an earlier run; it is settled now.
    Skip,
}

/// The stream or a completion came in an order that cannot be; going on would risk losing an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfOrder {
    /// A message of a transaction outside one.
    #[error("the stream sent {0} outside a transaction")]
    OutsideTransaction(&'static str),
    /// A transaction inside another.
    #[error("the stream began the transaction ending at {0} inside another")]
    NestedTransaction(Lsn),
    /// A completion for an event that does not await it.
    #[error("event {token} was {done}, which it did not await")]
    Unexpected {
        /// The event's token.
        token: usize,
        /// What was reported of it.
        done: &'static str,
    },
}

/// Keeps the account of every event from the log to the confirmation: which are to be published, which are
/// in flight, and what may be confirmed.
///
/// The caller carries out what it decides and reports what has happened; it does no I/O itself.
#[derive(Debug)]
pub struct Pipeline {
    progress: Progress,
    cursor: Cursor,
    flights: Slab<Flight>,
    bytes: usize,
    asked: usize,
    in_transaction: Option<InTransaction>,
    horizon: Lsn,
    start: Start,
}

#[derive(Clone, Copy, Debug)]
struct InTransaction {
    transaction: Option<Transaction>,
    ask: bool,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    /// `None` where the log did not bring it: then nothing of the log waits for it.
    transaction: Option<Transaction>,
    bytes: usize,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Asked,
    Publishing,
    Acknowledged,
}

impl Pipeline {
    /// Nothing read yet.
    pub fn new(start: Start) -> Self {
        Pipeline {
            progress: Progress::new(start.confirmed),
            cursor: Cursor::new(start.confirmed),
            flights: Slab::new(),
            bytes: 0,
            asked: 0,
            in_transaction: None,
            horizon: Lsn::ZERO,
            start,
        }
    }

    /// The position up to which the slot may be confirmed: the end of the longest prefix of transactions
    /// whose every event is settled. Never goes back, never passes an open transaction.
    pub fn confirmable(&self) -> Lsn {
        self.progress.confirmable()
    }

    /// Where a connection is to start reading: the end of the last transaction read whole.
    pub fn read_position(&self) -> Lsn {
        self.cursor.read()
    }

    /// Whether the bound on what is in flight lets one more event in.
    pub fn has_room(&self) -> bool {
        let Limits { events_max, bytes_max } = self.start.limits;
        self.flights.is_empty() || (self.flights.len() < events_max && self.bytes < bytes_max)
    }

    /// How many events are in flight.
    pub fn events_in_flight(&self) -> usize {
        self.flights.len()
    }

    /// How many bytes of events are in flight.
    pub fn bytes_in_flight(&self) -> usize {
        self.bytes
    }

    /// A connection has taken the slot and starts reading at [`read_position`](Self::read_position).
    ///
    /// `horizon` is the end of the log then: whoever held the slot before, an earlier run or another relay
    /// while the connection was lost, may have published what committed before it, and nothing after.
    pub fn connected(&mut self, horizon: Lsn) {
        self.cursor.connected_again();
        self.in_transaction = None;
        self.horizon = self.horizon.max(horizon);
    }

    /// A transaction begins whose commit record stands at `final_lsn`.
    pub fn begin(&mut self, final_lsn: Lsn) -> Result<(), OutOfOrder> {
        if self.in_transaction.is_some() {
            return Err(OutOfOrder::NestedTransaction(final_lsn));
        }
        let transaction = match self.cursor.begin(final_lsn) {
            Beginning::Passed => None,
            Beginning::Continued => self.progress.open(),
            Beginning::New => Some(self.progress.begin()),
        };
        self.in_transaction = Some(InTransaction { transaction, ask: final_lsn < self.horizon });
        Ok(())
    }

    /// An outbox row of the transaction under way, of `bytes` bytes.
    pub fn event(&mut self, bytes: usize) -> Result<Admission, OutOfOrder> {
        let outside = OutOfOrder::OutsideTransaction("an insert");
        let Some(InTransaction { transaction, ask }) = self.in_transaction else { return Err(outside) };
        let is_new = self.cursor.event().ok_or(outside)?;
        let Some(transaction) = transaction.filter(|_| is_new) else { return Ok(Admission::Drop) };
        // What was asked for earlier must go first, so that the order of a key stays that of its commits.
        let ask = self.start.write_back && ask;
        let waits = ask || self.asked > 0;
        let stage = if waits { Stage::Asked } else { Stage::Publishing };
        let token = Token(self.flights.insert(Flight { transaction: Some(transaction), bytes, stage }));
        self.progress.event(transaction);
        self.bytes += bytes;
        if waits {
            self.asked += 1;
        }
        Ok(match (ask, waits) {
            (true, _) => Admission::Ask(token),
            (false, true) => Admission::Behind(token),
            (false, false) => Admission::Publish(token),
        })
    }

    /// The transaction under way ends at `end`, the position after its commit record.
    pub fn commit(&mut self, end: Lsn) -> Result<(), OutOfOrder> {
        let outside = OutOfOrder::OutsideTransaction("a commit");
        self.in_transaction.take().ok_or(outside.clone())?;
        if self.cursor.commit(end).ok_or(outside)? {
            self.progress.commit(end);
        }
        Ok(())
    }

    /// The server says that it has sent everything before `end`.
    pub fn keepalive(&mut self, end: Lsn) {
        self.progress.keepalive(end);
        self.cursor.keepalive(end);
    }

    /// An event of `bytes` bytes that the log does not bring now, because somebody wants it sent again. It is in
    /// flight like any other and within the same bounds, and holds back no confirmation: a crash forgets it, and
    /// whoever wants it sent has to remember.
    pub fn planned(&mut self, bytes: usize) -> Token {
        let flight = Flight { transaction: None, bytes, stage: Stage::Publishing };
        self.bytes += bytes;
        Token(self.flights.insert(flight))
    }

    /// The answer for an event that was to be asked for: its row's status, `None` when there is no such row.
    pub fn answered(&mut self, token: Token, row: Option<Status>) -> Result<Verdict, OutOfOrder> {
        self.expect(token, Stage::Asked, "answered")?;
        self.asked -= 1;
        if resend_is_needed(row) {
            self.flights[token.0].stage = Stage::Publishing;
            return Ok(Verdict::Publish);
        }
        self.settle(token);
        Ok(Verdict::Skip)
    }

    /// The event's fate is decided and not yet durable: the broker acknowledged it, or it is set aside. Where
    /// nothing is written to rows, that settles it.
    pub fn acknowledged(&mut self, token: Token) -> Result<(), OutOfOrder> {
        self.expect(token, Stage::Publishing, "acknowledged")?;
        self.flights[token.0].stage = Stage::Acknowledged;
        if !self.start.write_back {
            self.settle(token);
        }
        Ok(())
    }

    /// The event's delivery is durably written to its row.
    pub fn written(&mut self, token: Token) -> Result<(), OutOfOrder> {
        self.expect(token, Stage::Acknowledged, "written back")?;
        self.settle(token);
        Ok(())
    }

    fn expect(&self, token: Token, stage: Stage, done: &'static str) -> Result<(), OutOfOrder> {
        match self.flights.get(token.0) {
            Some(flight) if flight.stage == stage => Ok(()),
            _ => Err(OutOfOrder::Unexpected { token: token.0, done }),
        }
    }

    fn settle(&mut self, token: Token) {
        let flight = self.flights.remove(token.0);
        self.bytes -= flight.bytes;
        if let Some(transaction) = flight.transaction {
            self.progress.settle(transaction);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planned_event_takes_room_and_holds_back_no_confirmation() {
        let limits = Limits { events_max: 1, bytes_max: 100 };
        let mut pipeline = Pipeline::new(Start { confirmed: Lsn::ZERO, write_back: true, limits });
        let planned = pipeline.planned(10);
        assert!(!pipeline.has_room());
        pipeline.keepalive(Lsn::from_u64(7));
        assert_eq!(pipeline.confirmable(), Lsn::from_u64(7));
        pipeline.acknowledged(planned).expect("it was published");
        pipeline.written(planned).expect("it was acknowledged");
        assert_eq!((pipeline.events_in_flight(), pipeline.bytes_in_flight()), (0, 0));
        assert_eq!(pipeline.confirmable(), Lsn::from_u64(7));
    }
}
