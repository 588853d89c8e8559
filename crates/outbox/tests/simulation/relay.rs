//! One run of the relay: what the real pump does around the core, without its I/O.

use std::collections::{BTreeSet, VecDeque};

use outbox::{Admission, InFlightLedger, LedgerOptions, LookupOutcome, Lsn, OutOfOrder, Status, Token};

use crate::broker::Broker;
use crate::database::Write;
use crate::log::Log;
use crate::server::Message;

/// Everything here is gone when the process is.
pub(crate) struct Relay {
    pub(crate) ledger: InFlightLedger,
    /// The stream is no longer read; what is in flight is completed.
    pub(crate) is_draining: bool,
    /// What the ledger should know of itself, kept independently of it.
    pub(crate) account: Account,
    to_ask: VecDeque<Flight>,
    /// Admitted, and not yet handed to the producer.
    ready: VecDeque<Flight>,
    /// Events that the broker rejected in an earlier session.
    refused: BTreeSet<usize>,
    /// Rows that are set aside and do not say so durably yet: what is behind them in their key waits.
    aside: Vec<Flight>,
    /// Questions under way, on one connection: answered in the order they were asked.
    windows: VecDeque<Window>,
    to_write: VecDeque<Flight>,
    /// Write-back statements under way, on several connections: answered in any order.
    pub(crate) batches: Vec<Batch>,
}

#[derive(Clone, Copy)]
struct Flight {
    token: usize,
    event: usize,
    /// Whether its row needs a lookup.
    asks: bool,
    /// Whether its row is to say FAILED.
    fails: bool,
}

struct Window {
    flights: Vec<Flight>,
    answers: Option<Vec<Option<Status>>>,
}

pub(crate) struct Batch {
    flights: Vec<Flight>,
    pub(crate) is_applied: bool,
}

impl Batch {
    pub(crate) fn writes(&self) -> Vec<Write> {
        self.flights.iter().map(|flight| Write { event: flight.event, fails: flight.fails }).collect()
    }
}

/// The driver's own books.
#[derive(Default)]
pub(crate) struct Account {
    /// By token, the event in flight under it and its size.
    flights: Vec<Option<(usize, usize)>>,
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    pub(crate) newest_bytes: usize,
    /// A token that was given out while another event still flew under it.
    pub(crate) token_reused: Option<usize>,
    /// The commit record of the transaction begun and not yet read to its end, on whatever connection.
    pub(crate) open: Option<Lsn>,
    /// The commit record of the first transaction this run was sent.
    pub(crate) first: Option<Lsn>,
    /// Up to here everything had been read.
    pub(crate) read: Lsn,
    /// What this run sent to the broker, in that order.
    pub(crate) produced: Vec<usize>,
    pub(crate) skipped: usize,
    pub(crate) dropped: usize,
    pub(crate) set_aside: usize,
    pub(crate) planned: usize,
}

impl Account {
    fn admitted(&mut self, token: usize, event: usize, bytes: usize) {
        if self.flights.len() <= token {
            self.flights.resize(token + 1, None);
        }
        if self.flights[token].replace((event, bytes)).is_some() {
            self.token_reused = Some(token);
        }
        self.events += 1;
        self.bytes += bytes;
        self.newest_bytes = bytes;
    }

    /// The first event, in the order of commit, that is in flight.
    pub(crate) fn first_in_flight(&self) -> Option<usize> {
        self.flights.iter().flatten().map(|(event, _)| *event).min()
    }

    fn settled(&mut self, token: usize) {
        if let Some((_, bytes)) = self.flights[token].take() {
            self.events -= 1;
            self.bytes -= bytes;
        }
    }
}

impl Relay {
    pub(crate) fn new(options: LedgerOptions, refused: BTreeSet<usize>) -> Self {
        Relay {
            ledger: InFlightLedger::new(options),
            is_draining: false,
            account: Account { read: options.confirmed, ..Account::default() },
            to_ask: VecDeque::new(),
            ready: VecDeque::new(),
            refused,
            aside: Vec::new(),
            windows: VecDeque::new(),
            to_write: VecDeque::new(),
            batches: Vec::new(),
        }
    }

    /// Whether the pump would take a message off the connection.
    pub(crate) fn is_reading(&self) -> bool {
        !self.is_draining && self.ready.is_empty() && self.ledger.has_room()
    }

    pub(crate) fn read(
        &mut self,
        message: Message,
        log: &Log,
        broker: &mut Broker,
    ) -> Result<(), OutOfOrder> {
        match message {
            Message::Begin(final_lsn) => {
                self.ledger.begin(final_lsn)?;
                self.account.first.get_or_insert(final_lsn);
                if final_lsn >= self.account.read {
                    self.account.open = Some(final_lsn);
                }
            }
            Message::Insert { event, bytes } => match self.ledger.event(bytes)? {
                Admission::Publish(token) => {
                    self.account.admitted(token.to_usize(), event, bytes);
                    self.ready.push_back(Flight {
                        token: token.to_usize(),
                        event,
                        asks: false,
                        fails: false,
                    });
                    self.offer(log, broker)?;
                }
                Admission::LookupFirst(token) => {
                    self.account.admitted(token.to_usize(), event, bytes);
                    self.to_ask.push_back(Flight {
                        token: token.to_usize(),
                        event,
                        asks: true,
                        fails: false,
                    });
                }
                Admission::QueueBehindLookup(token) => {
                    self.account.admitted(token.to_usize(), event, bytes);
                    self.to_ask.push_back(Flight {
                        token: token.to_usize(),
                        event,
                        asks: false,
                        fails: false,
                    });
                }
                Admission::AlreadySeen => self.account.dropped += 1,
            },
            Message::Commit(end) => {
                self.ledger.commit(end)?;
                if end > self.account.read {
                    self.account.read = end;
                    self.account.open = None;
                }
            }
            Message::Keepalive(end) => self.ledger.keepalive(end),
        }
        Ok(())
    }

    /// Hands what is ready to the producer, in order; what is known to be refused is set aside.
    fn offer(&mut self, log: &Log, broker: &mut Broker) -> Result<(), OutOfOrder> {
        let key = |flight: &Flight| log.events[flight.event].key;
        while let Some(flight) = self.ready.front().copied() {
            if self.aside.iter().any(|aside| key(aside) == key(&flight)) {
                break;
            }
            self.ready.pop_front();
            if self.refused.remove(&flight.event) {
                self.ledger.acknowledged(Token::from_usize(flight.token))?;
                self.account.set_aside += 1;
                self.aside.push(flight);
                self.to_write.push_back(Flight { fails: true, ..flight });
            } else {
                self.account.produced.push(flight.event);
                broker.produce(key(&flight), flight.event, flight.token);
            }
        }
        Ok(())
    }

    /// Whether a resend is accepted.
    pub(crate) fn takes_planned(&self) -> bool {
        self.is_reading()
    }

    /// Sends an event again that was delivered.
    pub(crate) fn plan(&mut self, event: usize, bytes: usize, log: &Log, broker: &mut Broker) {
        let token = self.ledger.resend(bytes).to_usize();
        self.account.admitted(token, event, bytes);
        self.account.planned += 1;
        broker.produce(log.events[event].key, event, token);
    }

    pub(crate) fn can_ask(&self) -> bool {
        !self.to_ask.is_empty()
    }

    pub(crate) fn ask(&mut self, window_max: usize) {
        let flights = self.to_ask.drain(..window_max.min(self.to_ask.len())).collect();
        self.windows.push_back(Window { flights, answers: None });
    }

    pub(crate) fn has_unanswered_window(&self) -> bool {
        self.windows.iter().any(|window| window.answers.is_none())
    }

    /// The database reads the rows of the oldest question it has not read yet.
    pub(crate) fn window_is_read(&mut self, status: impl Fn(usize) -> Option<Status>) {
        if let Some(window) = self.windows.iter_mut().find(|window| window.answers.is_none()) {
            let answer = |flight: &Flight| if flight.asks { status(flight.event) } else { None };
            window.answers = Some(window.flights.iter().map(answer).collect());
        }
    }

    pub(crate) fn has_answered_window(&self) -> bool {
        self.windows.front().is_some_and(|window| window.answers.is_some())
    }

    pub(crate) fn window_is_answered(&mut self, log: &Log, broker: &mut Broker) -> Result<(), OutOfOrder> {
        let Some(window) = self.windows.pop_front() else { return Ok(()) };
        for (flight, row) in window.flights.into_iter().zip(window.answers.into_iter().flatten()) {
            match self.ledger.resolve_lookup(Token::from_usize(flight.token), row)? {
                LookupOutcome::Publish => self.ready.push_back(flight),
                LookupOutcome::Skip => {
                    self.account.settled(flight.token);
                    self.account.skipped += 1;
                }
            }
        }
        self.offer(log, broker)
    }

    pub(crate) fn has_windows(&self) -> bool {
        !self.windows.is_empty()
    }

    /// The connection of the questions is lost: they are asked again.
    pub(crate) fn windows_are_lost(&mut self) {
        for window in &mut self.windows {
            window.answers = None;
        }
    }

    pub(crate) fn acknowledged(
        &mut self,
        (token, event): (usize, usize),
        write_back: bool,
    ) -> Result<(), OutOfOrder> {
        self.ledger.acknowledged(Token::from_usize(token))?;
        if write_back {
            self.to_write.push_back(Flight { token, event, asks: false, fails: false });
        } else {
            self.account.settled(token);
        }
        Ok(())
    }

    pub(crate) fn can_write(&self) -> bool {
        !self.to_write.is_empty()
    }

    pub(crate) fn write(&mut self, batch_max: usize) {
        let flights = self.to_write.drain(..batch_max.min(self.to_write.len())).collect();
        self.batches.push(Batch { flights, is_applied: false });
    }

    pub(crate) fn batch_is_answered(
        &mut self,
        batch: usize,
        log: &Log,
        broker: &mut Broker,
    ) -> Result<(), OutOfOrder> {
        for flight in self.batches.swap_remove(batch).flights {
            self.ledger.written(Token::from_usize(flight.token))?;
            self.account.settled(flight.token);
            self.aside.retain(|aside| aside.token != flight.token);
        }
        self.offer(log, broker)
    }

    /// Whether nothing is left to do for anything that was read.
    pub(crate) fn is_done(&self) -> bool {
        self.account.events == 0
            && self.to_ask.is_empty()
            && self.ready.is_empty()
            && self.windows.is_empty()
            && self.to_write.is_empty()
            && self.batches.is_empty()
    }
}
