//! What can happen next.

use outbox::OutOfOrder;

use crate::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    CommitTransaction,
    OtherWork,
    Checkpoint,
    Start,
    Connect,
    Read,
    Keepalive,
    Confirm,
    Ask,
    WindowRead,
    WindowAnswered,
    Land,
    Acknowledge,
    Write,
    BatchApplied,
    BatchAnswered,
    End,
    Receipt,
    PersonActs,
    Plan,
    LateRecord,
    LateStatement,
    Drain,
    ConnectionLost,
    WindowsLost,
    BatchLost,
    Retire,
    ServerCrash,
    Crash,
}

impl Step {
    pub(crate) const ALL: [Step; 29] = [
        Step::CommitTransaction,
        Step::OtherWork,
        Step::Checkpoint,
        Step::Start,
        Step::Connect,
        Step::Read,
        Step::Keepalive,
        Step::Confirm,
        Step::Ask,
        Step::WindowRead,
        Step::WindowAnswered,
        Step::Land,
        Step::Acknowledge,
        Step::Write,
        Step::BatchApplied,
        Step::BatchAnswered,
        Step::End,
        Step::Receipt,
        Step::PersonActs,
        Step::Plan,
        Step::LateRecord,
        Step::LateStatement,
        Step::Drain,
        Step::ConnectionLost,
        Step::WindowsLost,
        Step::BatchLost,
        Step::Retire,
        Step::ServerCrash,
        Step::Crash,
    ];

    /// How often, against the others. A crash every few hundred steps leaves time for work in between.
    pub(crate) fn weight(self) -> usize {
        match self {
            Step::Read => 120,
            Step::CommitTransaction | Step::OtherWork | Step::Keepalive | Step::Confirm => 15,
            Step::Checkpoint | Step::Receipt | Step::PersonActs | Step::Plan => 6,
            Step::Drain | Step::Crash | Step::ServerCrash | Step::Retire => 2,
            Step::ConnectionLost | Step::WindowsLost | Step::BatchLost => 5,
            _ => 40,
        }
    }

    pub(crate) fn is_fault(self) -> bool {
        use Step::{BatchLost, ConnectionLost, Crash, Drain, Retire, ServerCrash, WindowsLost};
        matches!(self, Drain | ConnectionLost | WindowsLost | BatchLost | Retire | ServerCrash | Crash)
    }

    pub(crate) fn ends_the_process_abruptly(self) -> bool {
        self == Step::Crash
    }

    /// Whether the step brings what is under way nearer to its end: these alone must suffice for everything
    /// to arrive.
    pub(crate) fn completes(self) -> bool {
        use Step::{Checkpoint, CommitTransaction, OtherWork, PersonActs, Plan, Receipt};
        let is_new = matches!(self, CommitTransaction | OtherWork | Checkpoint | Receipt | PersonActs | Plan);
        !self.is_fault() && !is_new
    }

    /// `is_settling`: nothing new happens any more, and everything completes.
    pub(crate) fn is_possible(self, world: &mut World, is_settling: bool) -> bool {
        let World { log, server, broker, database, relay, plan, refused, .. } = world;
        let is_connected = server.is_connected();
        let Some(relay) = relay else {
            return match self {
                Step::CommitTransaction => log.transactions.len() < plan.transactions_max,
                Step::OtherWork | Step::Checkpoint | Step::Start | Step::ServerCrash => true,
                Step::Receipt => plan.write_back && !broker.landings.is_empty(),
                Step::Retire => plan.write_back && !log.events.is_empty(),
                Step::PersonActs => refused.is_some(),
                Step::LateRecord => broker.has_late_record(),
                Step::LateStatement => database.has_late_statement(),
                _ => false,
            };
        };
        match self {
            Step::CommitTransaction => log.transactions.len() < plan.transactions_max,
            Step::OtherWork | Step::Checkpoint | Step::Crash | Step::ServerCrash => true,
            Step::Start | Step::PersonActs => false,
            Step::Plan => plan.write_back && is_connected && relay.takes_planned() && !log.events.is_empty(),
            Step::Connect => !is_connected,
            Step::Read => relay.is_reading() && server.has_more(log),
            Step::Keepalive if is_settling => {
                let is_news = relay.ledger.confirmable() < log.end();
                is_news && is_connected && relay.is_reading() && !server.has_more(log)
            }
            Step::Keepalive => relay.is_reading() && server.may_send_keepalive(),
            Step::Confirm if is_settling => is_connected && relay.ledger.confirmable() > server.confirmed,
            Step::Confirm => is_connected,
            Step::Ask => relay.can_ask(),
            Step::WindowRead => relay.has_unanswered_window(),
            Step::WindowAnswered => relay.has_answered_window(),
            Step::Land => broker.can_land(),
            Step::Acknowledge => broker.can_acknowledge(),
            Step::Write => relay.can_write(),
            Step::BatchApplied => relay.batches.iter().any(|batch| !batch.is_applied),
            Step::BatchAnswered => relay.batches.iter().any(|batch| batch.is_applied),
            Step::End => relay.is_draining && relay.is_done() && broker.is_quiet(),
            Step::Receipt => plan.write_back && !broker.landings.is_empty(),
            Step::LateRecord => broker.has_late_record(),
            Step::LateStatement => database.has_late_statement(),
            Step::Drain => !relay.is_draining,
            Step::ConnectionLost => is_connected,
            Step::WindowsLost => relay.has_windows(),
            Step::BatchLost => !relay.batches.is_empty(),
            Step::Retire => plan.write_back && !log.events.is_empty(),
        }
    }

    /// Takes the step, which is possible.
    pub(crate) fn take(self, world: &mut World, is_settling: bool) -> Result<(), OutOfOrder> {
        match self {
            Step::CommitTransaction => world.commit_transaction(),
            Step::OtherWork => {
                let bytes = world.random.between(1, 100);
                world.log.other_work(bytes);
            }
            Step::Checkpoint => world.server.checkpoint(),
            Step::Start => world.start_relay(),
            Step::Connect => world.connect(),
            Step::Read => {
                let message = world.server.next(&world.log);
                world.read(message)?;
            }
            Step::Keepalive => {
                let message = world.server.keepalive(&world.log, is_settling, &mut world.random);
                world.read(message)?;
            }
            Step::Confirm => world.confirm(),
            Step::Land => world.land(),
            Step::End => {
                world.note(|| "drained".to_owned());
                world.relay_ends();
            }
            Step::PersonActs => world.person_acts(),
            Step::Plan => world.plan_again(),
            Step::LateRecord => {
                if let Some(event) = world.broker.late_record_lands(&mut world.random) {
                    world.note(|| format!("event {event}, sent by a dead relay, is on the broker"));
                }
            }
            Step::LateStatement => {
                world.note(|| "a dead connection's write-back is applied".to_owned());
                world.database.late_statement_runs(&mut world.random);
            }
            Step::Receipt => {
                let event = world.random.pick(&world.broker.landings);
                world.database.consumed(event);
                world.note(|| format!("event {event} is consumed"));
            }
            Step::Retire => {
                let event = world.random.below(world.log.events.len());
                if world.database.retire(event) {
                    world.note(|| format!("the row of event {event} is deleted"));
                }
            }
            Step::ConnectionLost => {
                world.note(|| "the replication connection is lost".to_owned());
                world.disconnect();
            }
            Step::ServerCrash => {
                world.server_crashes();
                let confirmed = world.server.confirmed;
                world.note(|| format!("the server crashes; its slot is back at {confirmed}"));
            }
            Step::Crash => {
                world.note(|| "the relay crashes".to_owned());
                world.verdicts.clear();
                world.relay_dies();
            }
            Step::BatchLost => world.batch_is_lost(),
            Step::Ask
            | Step::WindowRead
            | Step::WindowAnswered
            | Step::Acknowledge
            | Step::Write
            | Step::BatchApplied
            | Step::BatchAnswered
            | Step::Drain
            | Step::WindowsLost => self.take_in_relay(world)?,
        }
        Ok(())
    }

    fn take_in_relay(self, world: &mut World) -> Result<(), OutOfOrder> {
        let World { random, plan, log, broker, database, relay, .. } = world;
        let Some(relay) = relay else { return Ok(()) };
        let note = match self {
            Step::Ask => {
                relay.ask(random.between(1, plan.window_max));
                "a window of rows is asked for".to_owned()
            }
            Step::WindowRead => {
                relay.window_is_read(|event| database.status(event));
                "a window of rows is read".to_owned()
            }
            Step::WindowAnswered => {
                let before = (relay.account.produced.len(), relay.account.skipped);
                relay.window_is_answered(log, broker)?;
                let published = &relay.account.produced[before.0..];
                let skipped = relay.account.skipped - before.1;
                format!("a window is answered: {published:?} published, {skipped} skipped")
            }
            Step::Acknowledge => {
                let Some(report) = broker.acknowledge(random) else { return Ok(()) };
                relay.acknowledged(report, plan.write_back)?;
                format!("event {} is acknowledged", report.1)
            }
            Step::Write => {
                relay.write(random.between(1, plan.batch_max));
                format!("the write-back of {:?} is sent", relay.batches.last().map(|batch| batch.writes()))
            }
            Step::BatchApplied => {
                let number = pick_batch(relay.batches.iter().map(|batch| !batch.is_applied), random);
                relay.batches[number].is_applied = true;
                let events = relay.batches[number].writes();
                database.write_back(&events);
                format!("the write-back of {events:?} is applied")
            }
            Step::BatchAnswered => {
                let number = pick_batch(relay.batches.iter().map(|batch| batch.is_applied), random);
                let events = relay.batches[number].writes();
                relay.batch_is_answered(number, log, broker)?;
                format!("the write-back of {events:?} is answered")
            }
            Step::Drain => {
                relay.is_draining = true;
                "the relay drains".to_owned()
            }
            Step::WindowsLost => {
                relay.windows_are_lost();
                "the connection of the questions is lost".to_owned()
            }
            _ => return Ok(()),
        };
        world.note(|| note);
        Ok(())
    }
}

fn pick_batch(suits: impl Iterator<Item = bool>, random: &mut crate::random::Random) -> usize {
    let suiting: Vec<usize> =
        suits.enumerate().filter(|(_, suits)| *suits).map(|(number, _)| number).collect();
    random.pick(&suiting)
}
