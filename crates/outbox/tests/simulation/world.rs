//! Everything there is in one history, and what befalls more than one part of it.

use std::collections::BTreeSet;

use outbox::{LedgerOptions, OutOfOrder, Status};

use crate::broker::{Broker, Landing};
use crate::database::Database;
use crate::log::{Log, Row};
use crate::plan::Plan;
use crate::random::Random;
use crate::relay::Relay;
use crate::server::{Message, Server};
use crate::tally::Tally;

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) plan: Plan,
    pub(crate) log: Log,
    pub(crate) server: Server,
    pub(crate) broker: Broker,
    pub(crate) database: Database,
    pub(crate) relay: Option<Relay>,
    /// How often the relay has been started, and how often it ended without completing what it had read.
    pub(crate) runs: usize,
    pub(crate) deaths: usize,
    /// The event whose refusal stopped the relay, until an operator handles it.
    pub(crate) refused: Option<usize>,
    /// Where rows that are refused step aside: the events whose refusal ended a life, until the next has seen to
    /// them. Gone with the process.
    pub(crate) verdicts: BTreeSet<usize>,
    pub(crate) tally: Tally,
    /// The trace, if it is recorded.
    pub(crate) trace: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(seed: u64, is_traced: bool) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::draw(&mut random);
        let log = Log::new(plan.keys);
        World {
            server: Server::new(plan.server, log.end()),
            broker: Broker::new(plan.partitions),
            database: Database::new(),
            relay: None,
            runs: 0,
            deaths: 0,
            refused: None,
            verdicts: BTreeSet::new(),
            tally: Tally::default(),
            trace: is_traced.then(Vec::new),
            random,
            plan,
            log,
        }
    }

    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(what());
        }
    }

    pub(crate) fn commit_transaction(&mut self) {
        let random = &mut self.random;
        let limits = self.plan.limits;
        let is_oversized = random.chance(self.plan.oversized_percent);
        let size =
            if is_oversized { limits.events_max * random.between(2, 4) + 1 } else { random.between(0, 4) };
        self.tally.oversized += u64::from(is_oversized);
        let keeps_rows = !random.chance(5);
        let mut rows = Vec::new();
        for _ in 0..size {
            let key = random.below(self.plan.keys);
            rows.push(Row { key, bytes: random.pick(&[0, 1, 10, 60, 400]) });
            let is_refused = random.chance(self.plan.refused_percent);
            self.broker.event_added(if is_refused { random.between(1, 3) as u32 } else { 0 });
            self.database.event_added(keeps_rows);
        }
        let commit_bytes = random.between(1, 40);
        self.log.commit(rows, commit_bytes);
        if let Some(committed) = self.log.transactions.last() {
            let (events, final_lsn, end) = (committed.events.clone(), committed.final_lsn, committed.end);
            self.note(|| format!("committed: events {events:?}, commit record {final_lsn}, end {end}"));
        }
    }

    pub(crate) fn start_relay(&mut self) {
        let confirmed = self.server.confirmed;
        let (write_back, limits) = (self.plan.write_back, self.plan.limits);
        let options = LedgerOptions { confirmed, write_back, limits };
        self.relay = Some(Relay::new(options, std::mem::take(&mut self.verdicts)));
        self.runs += 1;
        self.note(|| format!("the relay starts at {confirmed}, write-back {write_back}, {limits:?}"));
    }

    pub(crate) fn connect(&mut self) {
        let Some(relay) = &mut self.relay else { return };
        let asked = relay.ledger.read_position();
        relay.ledger.connected(self.log.end());
        self.server.connect(&self.log, asked, &mut self.random);
        let confirmed = self.server.confirmed;
        self.note(|| format!("connected, reading from {asked}; the slot stands at {confirmed}"));
    }

    pub(crate) fn disconnect(&mut self) {
        self.tally.lost_in_transaction += u64::from(self.server.is_in_transaction());
        self.server.disconnect();
    }

    pub(crate) fn read(&mut self, message: Option<Message>) -> Result<(), OutOfOrder> {
        let (Some(message), Some(relay)) = (message, &mut self.relay) else { return Ok(()) };
        let before = (relay.account.produced.len(), relay.account.dropped);
        relay.read(message, &self.log, &mut self.broker)?;
        let is_insert = matches!(message, Message::Insert { .. });
        let what = match (relay.account.produced.len(), relay.account.dropped) {
            (_, dropped) if dropped > before.1 => ", dropped",
            (produced, _) if produced > before.0 => ", published",
            _ if is_insert => ", asked for",
            _ => "",
        };
        self.note(|| format!("read {message}{what}"));
        Ok(())
    }

    pub(crate) fn confirm(&mut self) {
        let Some(relay) = &self.relay else { return };
        let position = relay.ledger.confirmable();
        self.server.confirm(position);
        self.note(|| format!("confirmed {position}"));
    }

    pub(crate) fn land(&mut self) {
        match self.broker.land(&mut self.random) {
            Some(Landing::Landed(event)) => self.note(|| format!("event {event} is on the broker")),
            Some(Landing::Refused(event)) if self.plan.parks => {
                self.note(|| format!("event {event} is refused: the next life sets it aside"));
                self.tally.refused += 1;
                self.verdicts.insert(event);
                self.relay_dies();
            }
            Some(Landing::Refused(event)) => {
                self.note(|| format!("event {event} is refused: the relay stops"));
                self.tally.refused += 1;
                self.refused = Some(event);
                self.relay_dies();
            }
            None => {}
        }
    }

    /// An operator handles the row that stopped the relay: marks it FAILED, or has the relay try again.
    pub(crate) fn person_acts(&mut self) {
        let Some(event) = self.refused.take() else { return };
        if self.plan.write_back && self.random.chance(40) {
            self.database.failed(event);
            self.note(|| format!("event {event} is given up"));
        }
    }

    /// An event that can be resent: its row is PUBLISH or COMPLETE.
    fn plannable(&mut self) -> Option<usize> {
        let rows = 0..self.log.events.len();
        let delivered: Vec<usize> = rows
            .filter(|event| matches!(self.database.status(*event), Some(Status::Publish | Status::Complete)))
            .collect();
        (!delivered.is_empty()).then(|| self.random.pick(&delivered))
    }

    /// An event is resent.
    pub(crate) fn plan_again(&mut self) {
        let Some(event) = self.plannable() else { return };
        let Some(relay) = &mut self.relay else { return };
        relay.plan(event, self.log.events[event].bytes, &self.log, &mut self.broker);
        self.note(|| format!("event {event} is sent again on purpose"));
    }

    /// All of the process is gone at once. What it had under way may or may not come about, or later.
    pub(crate) fn relay_dies(&mut self) {
        let Some(relay) = self.relay.take() else { return };
        self.deaths += 1;
        self.disconnect();
        for batch in relay.batches.iter().filter(|batch| !batch.is_applied) {
            match self.random.below(3) {
                0 => self.database.write_back(&batch.writes()),
                1 => self.database.statement_orphaned(batch.writes()),
                _ => {}
            }
        }
        self.broker.producer_dies(&mut self.random);
        self.tally.run_ended(&relay.account);
    }

    /// The relay has completed what it had read; it confirms once more where it can, and ends.
    pub(crate) fn relay_ends(&mut self) {
        if self.server.is_connected() {
            self.confirm();
        }
        self.disconnect();
        if let Some(relay) = self.relay.take() {
            self.tally.run_ended(&relay.account);
        }
    }

    /// The database server and the slot's server are one: it takes all connections with it.
    pub(crate) fn server_crashes(&mut self) {
        self.tally.lost_in_transaction += u64::from(self.server.is_in_transaction());
        self.server.crash();
        if let Some(relay) = &mut self.relay {
            relay.windows_are_lost();
            relay.batches.iter_mut().for_each(|batch| batch.is_applied = false);
        }
    }

    /// Of a batch under way, the request or the answer is lost; the relay repeats it. A request may still be
    /// carried out after its repetition.
    pub(crate) fn batch_is_lost(&mut self) {
        let Some(relay) = &mut self.relay else { return };
        let number = self.random.below(relay.batches.len());
        let batch = &mut relay.batches[number];
        if !batch.is_applied && self.random.chance(40) {
            self.database.statement_orphaned(batch.writes());
        }
        let lost = if batch.is_applied { "answer" } else { "request" };
        batch.is_applied = false;
        let events = batch.writes();
        self.note(|| format!("the {lost} of the write-back of {events:?} is lost"));
    }
}
