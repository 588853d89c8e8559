//! The walsender and its slot.

use std::collections::HashSet;
use std::fmt;

use outbox::Lsn;

use crate::log::Log;
use crate::plan::ServerHabits;
use crate::random::Random;

#[derive(Clone, Copy)]
pub(crate) enum Message {
    Begin(Lsn),
    Insert { event: usize, bytes: usize },
    Commit(Lsn),
    Keepalive(Lsn),
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Begin(final_lsn) => write!(f, "BEGIN, commit record at {final_lsn}"),
            Message::Insert { event, bytes } => write!(f, "event {event}, {bytes} bytes"),
            Message::Commit(end) => write!(f, "COMMIT, end {end}"),
            Message::Keepalive(end) => write!(f, "keepalive {end}"),
        }
    }
}

pub(crate) struct Server {
    habits: ServerHabits,
    pub(crate) confirmed: Lsn,
    /// What of `confirmed` a checkpoint has saved: a server that crashes comes back with that.
    persisted: Lsn,
    /// A confirmation that moved the slot back.
    pub(crate) went_back: Option<(Lsn, Lsn)>,
    /// Every position that may be confirmed at some time: ends and keepalives the server has sent.
    pub(crate) sent_positions: HashSet<Lsn>,
    connection: Option<Connection>,
}

struct Connection {
    /// Transactions whose commit record stands before this are not sent.
    start: Lsn,
    next: usize,
    /// How many rows of `next` have been sent; `None` before its BEGIN.
    rows_sent: Option<usize>,
    keepalive_low: Lsn,
}

impl Server {
    pub(crate) fn new(habits: ServerHabits, position: Lsn) -> Self {
        Server {
            habits,
            confirmed: position,
            persisted: position,
            went_back: None,
            sent_positions: HashSet::from([position]),
            connection: None,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// START_REPLICATION: from `asked`, or from the slot's position where that is further.
    pub(crate) fn connect(&mut self, log: &Log, asked: Lsn, random: &mut Random) {
        let start = if self.habits.starts_early { self.confirmed } else { self.confirmed.max(asked) };
        let before = log.boundaries(Lsn::ZERO, self.confirmed);
        let restart = before[before.len().saturating_sub(random.between(1, 8))];
        let keepalive_low = if self.habits.keepalives_retreat { restart } else { self.confirmed };
        self.connection = Some(Connection { start, next: 0, rows_sent: None, keepalive_low });
    }

    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Whether the connection is between BEGIN and COMMIT.
    pub(crate) fn is_in_transaction(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.rows_sent.is_some())
    }

    pub(crate) fn has_more(&mut self, log: &Log) -> bool {
        let habits = self.habits;
        self.connection.as_mut().is_some_and(|connection| connection.seek(log, habits))
    }

    /// The next message of a transaction.
    pub(crate) fn next(&mut self, log: &Log) -> Option<Message> {
        let connection = self.connection.as_mut()?;
        if !connection.seek(log, self.habits) {
            return None;
        }
        let transaction = &log.transactions[connection.next];
        let Some(sent) = connection.rows_sent else {
            connection.rows_sent = Some(0);
            return Some(Message::Begin(transaction.final_lsn));
        };
        if let Some(event) = transaction.events.clone().nth(sent) {
            connection.rows_sent = Some(sent + 1);
            return Some(Message::Insert { event, bytes: log.events[event].bytes });
        }
        connection.rows_sent = None;
        connection.next += 1;
        self.sent_positions.insert(transaction.end);
        Some(Message::Commit(transaction.end))
    }

    pub(crate) fn may_send_keepalive(&self) -> bool {
        self.is_connected() && (self.habits.keepalives_anytime || !self.is_in_transaction())
    }

    /// A keepalive holds the position of decoding: never past the commit record of a transaction that is
    /// still to be sent whole, except for a habit. It may have been written long before it is read, so it may also say less.
    pub(crate) fn keepalive(&mut self, log: &Log, latest: bool, random: &mut Random) -> Option<Message> {
        let habits = self.habits;
        let connection = self.connection.as_mut()?;
        let more = connection.seek(log, habits);
        let is_ahead = habits.keepalives_run_ahead && connection.rows_sent.is_some();
        let high = if more && !is_ahead { log.transactions[connection.next].final_lsn } else { log.end() };
        let possible = log.boundaries(connection.keepalive_low.min(high), high);
        let at = if latest || random.chance(50) { high } else { random.pick(possible) };
        connection.keepalive_low = at;
        self.sent_positions.insert(at);
        Some(Message::Keepalive(at))
    }

    /// A standby status update. Position zero is "none".
    pub(crate) fn confirm(&mut self, position: Lsn) {
        if position < self.confirmed {
            if position == Lsn::ZERO || self.habits.ignores_retreat {
                return;
            }
            self.went_back = Some((self.confirmed, position));
        }
        self.confirmed = position;
    }

    pub(crate) fn checkpoint(&mut self) {
        self.persisted = self.confirmed;
    }

    /// The log is there whole, for only what is flushed is ever sent; the slot is as a checkpoint left it.
    pub(crate) fn crash(&mut self) {
        self.connection = None;
        if self.habits.forgets_confirmations {
            self.confirmed = self.persisted;
        }
    }
}

impl Connection {
    /// Moves to the next transaction to send; whether there is one.
    fn seek(&mut self, log: &Log, habits: ServerHabits) -> bool {
        while let Some(transaction) = log.transactions.get(self.next) {
            let is_left_out = transaction.events.is_empty() && !habits.sends_empty;
            if self.rows_sent.is_some() || (transaction.final_lsn >= self.start && !is_left_out) {
                return true;
            }
            self.next += 1;
        }
        false
    }
}
