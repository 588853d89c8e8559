//! What must hold after every step.

use std::fmt;

use outbox::{Lsn, Status};

use crate::log::Committed;
use crate::world::World;

/// One of the promises, broken.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    pub(crate) what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Every event that the server would not send again is on the broker and recorded on its row.
    NothingLost,
    /// What is confirmed is the end of a transaction or a keepalive's position; it never goes back, never
    /// passes an open transaction, never lies inside one or beyond the log.
    Confirmed,
    /// The end of the longest prefix of transactions that need nothing more is confirmable at once.
    Progress,
    /// What is in flight keeps within the limits, and the ledger's count of it is right.
    Limits,
    /// Per key, events first reach the broker in the order of commit, none overtaking another.
    Order,
    /// What a restart can know to be published is not published again, nor anything by a mere reconnect.
    Once,
    /// When the world lets everything through, everything arrives and is confirmed to the end of the log.
    Completion,
    /// The ledger takes a stream and completions as the real ones are: without an error, without a panic.
    Acceptance,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::NothingLost => "nothing lost",
            Rule::Confirmed => "confirmed position",
            Rule::Progress => "progress",
            Rule::Limits => "limits",
            Rule::Order => "order",
            Rule::Once => "once",
            Rule::Completion => "completion",
            Rule::Acceptance => "acceptance",
        })
    }
}

/// Remembers what the rules compare with. Facts that stay true are looked at once.
pub(crate) struct Watch {
    run: usize,
    confirmable: Lsn,
    /// The statuses when this run began.
    statuses: Vec<Option<Status>>,
    produced: usize,
    in_this_run: Vec<bool>,
    in_earlier_runs: Vec<bool>,
    landings: usize,
    has_landed: Vec<bool>,
    /// Per key, how many of its events from the first on have landed or been given up.
    in_order: Vec<usize>,
    /// How many transactions from the first on are known to be delivered.
    delivered: usize,
}

impl Watch {
    pub(crate) fn new(keys: usize) -> Self {
        Watch {
            run: 0,
            confirmable: Lsn::ZERO,
            statuses: Vec::new(),
            produced: 0,
            in_this_run: Vec::new(),
            in_earlier_runs: Vec::new(),
            landings: 0,
            has_landed: Vec::new(),
            in_order: vec![0; keys],
            delivered: 0,
        }
    }

    pub(crate) fn check(&mut self, world: &World) -> Result<(), Violation> {
        self.remember(world);
        self.landed_in_order(world)?;
        self.nothing_lost(world)?;
        self.confirmed_where_allowed(world)?;
        self.confirmed_as_far_as_allowed(world)?;
        self.within_limits(world)?;
        self.published_once(world)
    }

    /// Everything has been let through.
    pub(crate) fn check_completion(&self, world: &World) -> Result<(), Violation> {
        let broken = |what: String| Err(Violation { rule: Rule::Completion, what });
        if let Some(event) = (0..world.log.events.len()).find(|event| !self.is_delivered(world, *event)) {
            return broken(format!("event {event} has not arrived: row {:?}", world.database.status(event)));
        }
        if world.server.confirmed != world.log.end() {
            let (confirmed, end) = (world.server.confirmed, world.log.end());
            return broken(format!("confirmed {confirmed}, though all is done and the log ends at {end}"));
        }
        match &world.relay {
            Some(relay) if relay.is_done() && relay.ledger.events_in_flight() == 0 => Ok(()),
            _ => broken("the ledger is not empty".to_owned()),
        }
    }

    fn remember(&mut self, world: &World) {
        let events = world.log.events.len();
        self.has_landed.resize(events, false);
        self.in_this_run.resize(events, false);
        self.in_earlier_runs.resize(events, false);
        if self.run != world.runs {
            self.run = world.runs;
            self.confirmable = Lsn::ZERO;
            self.statuses = world.database.statuses();
            self.produced = 0;
            for (earlier, now) in self.in_earlier_runs.iter_mut().zip(&mut self.in_this_run) {
                *earlier |= std::mem::take(now);
            }
        }
    }

    fn is_delivered(&self, world: &World, event: usize) -> bool {
        match world.database.status(event) {
            _ if world.database.is_given_up(event) => true,
            Some(Status::Failed) => true,
            Some(Status::Init) => self.has_landed[event] && !world.plan.write_back,
            Some(Status::Publish | Status::Complete) | None => self.has_landed[event],
        }
    }

    fn landed_in_order(&mut self, world: &World) -> Result<(), Violation> {
        for &event in &world.broker.landings[self.landings..] {
            let key = world.log.events[event].key;
            self.has_landed[event] = true;
            let events = &world.log.keys[key];
            let front = &mut self.in_order[key];
            while let Some(&next) = events.get(*front)
                && (self.has_landed[next] || world.database.is_given_up(next))
            {
                *front += 1;
            }
            if let Some(&earlier) = events.get(*front)
                && earlier < event
            {
                let what =
                    format!("event {event} of key {key} is on the broker, {earlier} before it never was");
                return Err(Violation { rule: Rule::Order, what });
            }
        }
        self.landings = world.broker.landings.len();
        Ok(())
    }

    fn nothing_lost(&mut self, world: &World) -> Result<(), Violation> {
        let confirmable = world.relay.as_ref().map_or(Lsn::ZERO, |relay| relay.ledger.confirmable());
        let confirmed = confirmable.max(world.server.confirmed);
        while let Some(transaction) = world.log.transactions.get(self.delivered)
            && transaction.final_lsn < confirmed
        {
            if let Some(event) = transaction.events.clone().find(|event| !self.is_delivered(world, *event)) {
                let landed = if self.has_landed[event] { "on" } else { "not on" };
                let row = world.database.status(event);
                let end = transaction.end;
                let what = format!(
                    "confirmed {confirmed}, but event {event} of the transaction that ends at {end} is \
                     {landed} the broker and its row is {row:?}"
                );
                return Err(Violation { rule: Rule::NothingLost, what });
            }
            self.delivered += 1;
        }
        Ok(())
    }

    fn confirmed_where_allowed(&mut self, world: &World) -> Result<(), Violation> {
        let broken = |what: String| Err(Violation { rule: Rule::Confirmed, what });
        if let Some((from, to)) = world.server.went_back {
            return broken(format!("the slot was moved back from {from} to {to}"));
        }
        let Some(relay) = &world.relay else { return Ok(()) };
        let confirmable = relay.ledger.confirmable();
        if confirmable < self.confirmable {
            return broken(format!("went back from {} to {confirmable}", self.confirmable));
        }
        self.confirmable = confirmable;
        if confirmable > world.log.end() {
            return broken(format!("{confirmable} is beyond the log's end, {}", world.log.end()));
        }
        if let Some(open) = relay.account.open.filter(|open| confirmable > *open) {
            return broken(format!(
                "{confirmable} is past the open transaction whose commit stands at {open}"
            ));
        }
        if confirmable != Lsn::ZERO && !world.server.sent_positions.contains(&confirmable) {
            return broken(format!(
                "{confirmable} is neither a transaction's end nor a keepalive's position"
            ));
        }
        Ok(())
    }

    fn confirmed_as_far_as_allowed(&self, world: &World) -> Result<(), Violation> {
        let Some(relay) = &world.relay else { return Ok(()) };
        let (read, first) = (relay.account.read, relay.account.first_in_flight().unwrap_or(usize::MAX));
        let was_sent = |transaction: &Committed| {
            let is_of_this_run = relay.account.first.is_some_and(|first| transaction.final_lsn >= first);
            is_of_this_run && (!transaction.events.is_empty() || world.plan.server.sends_empty)
        };
        let settled = world.log.transactions.iter().rev().find(|transaction| {
            transaction.end <= read && transaction.events.end <= first && was_sent(transaction)
        });
        let confirmable = relay.ledger.confirmable();
        if let Some(transaction) = settled.filter(|transaction| transaction.end > confirmable) {
            let what = format!("confirmable is {confirmable}, though all is done up to {}", transaction.end);
            return Err(Violation { rule: Rule::Progress, what });
        }
        Ok(())
    }

    fn within_limits(&self, world: &World) -> Result<(), Violation> {
        let broken = |what: String| Err(Violation { rule: Rule::Limits, what });
        let Some(relay) = &world.relay else { return Ok(()) };
        let (account, limits) = (&relay.account, world.plan.limits);
        if let Some(token) = account.token_reused {
            return broken(format!("token {token} was given out while in use"));
        }
        let counted = (relay.ledger.events_in_flight(), relay.ledger.bytes_in_flight());
        if counted != (account.events, account.bytes) {
            let really = (account.events, account.bytes);
            return broken(format!("{counted:?} events and bytes are said to be in flight, {really:?} are"));
        }
        // An event's size is known once it is read, so the newest alone may reach beyond.
        let is_within = account.events <= limits.events_max
            && (account.events <= 1 || account.bytes < limits.bytes_max + account.newest_bytes);
        if !is_within {
            let (events, bytes) = (account.events, account.bytes);
            return broken(format!("{events} events and {bytes} bytes in flight, allowed: {limits:?}"));
        }
        Ok(())
    }

    fn published_once(&mut self, world: &World) -> Result<(), Violation> {
        let Some(relay) = &world.relay else { return Ok(()) };
        for &event in &relay.account.produced[self.produced..] {
            let broken = |what: String| Err(Violation { rule: Rule::Once, what });
            if std::mem::replace(&mut self.in_this_run[event], true) {
                return broken(format!("event {event} is published twice in one run"));
            }
            // A deleted row has no status, and without write-back no row has one.
            if !world.plan.write_back || world.database.status(event).is_none() {
                continue;
            }
            let status = self.statuses.get(event).copied().flatten();
            if matches!(status, Some(Status::Publish | Status::Complete | Status::Failed)) {
                return broken(format!(
                    "event {event} is published, its row said {status:?} before the restart"
                ));
            }
            if world.deaths == 0 && self.in_earlier_runs[event] {
                return broken(format!(
                    "event {event} is published again though every run before was drained"
                ));
            }
        }
        self.produced = relay.account.produced.len();
        Ok(())
    }
}
