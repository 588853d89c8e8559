//! From an admitted event to its durable row: handing over to the producer, and what becomes of what cannot be.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use kafka_sink::{PublishError, Receipts, Refusal};
use outbox::{Event, InFlightLedger, OrderingKey, RecordPosition, Status, Token};
use outbox_store::{Names, RowUpdateKind, StoredPlace};
use reconciler::{DeadlineTracker, QueuedCommand, ResendCause, ResendCommand, ResendOutcome};
use tokio::sync::oneshot;
use tracing::error;
use uuid::Uuid;

use crate::config::Policy;
use crate::relay::exit::Ending;
use crate::relay::publish::deadline_buckets::Buckets;
use crate::relay::publish::held_keys::{Lanes, Release};
use crate::relay::publish::in_flight::{Delivered, Delivery};
use crate::relay::publish::rejections::{Verdict, Verdicts};
use crate::relay::publish::resends::PlannedWork;

/// What a life's dispatch starts with.
pub(crate) struct Start {
    pub(crate) delivery: Delivery,
    pub(crate) verdicts: Verdicts,
    pub(crate) lanes: Lanes,
    pub(crate) deadlines: DeadlineTracker,
    /// `None` where rows do not become COMPLETE.
    pub(crate) receipts: Option<Receipts>,
    pub(crate) policy: Policy,
    pub(crate) dead_letter_topic: Option<Arc<str>>,
    pub(crate) names: Names,
}

/// Hands events over to the producer in order, applies the failure policy to those that cannot be published, and
/// follows each until its row is durable.
pub(crate) struct Dispatch {
    pub(crate) delivery: Delivery,
    verdicts: Verdicts,
    receipts: Option<Receipts>,
    /// Events admitted and not yet taken by the producer, in order.
    ready: VecDeque<Ready>,
    lanes: Lanes,
    /// Rows that step aside and do not say so durably yet. What is behind them in their lane waits: were it sent
    /// and the process killed, the next one would send them after it.
    aside: HashMap<Token, OrderingKey>,
    planned: PlannedWork,
    buckets: Buckets,
    deadlines: DeadlineTracker,
    policy: Policy,
    dead_letter_topic: Option<Arc<str>>,
    names: Names,
    skips: Vec<(Uuid, oneshot::Sender<ResendOutcome>)>,
}

struct Ready {
    token: Token,
    event: Event,
    /// `None` where the log brought it.
    cause: Option<ResendCause>,
}

enum Step {
    Taken,
    Full,
}

impl Dispatch {
    pub(crate) fn new(start: Start) -> Self {
        let Start { delivery, verdicts, lanes, deadlines, receipts, policy, dead_letter_topic, names } =
            start;
        Dispatch {
            delivery,
            verdicts,
            receipts,
            ready: VecDeque::new(),
            lanes,
            aside: HashMap::new(),
            planned: PlannedWork::default(),
            buckets: Buckets::new(deadlines.clone()),
            deadlines,
            policy,
            dead_letter_topic,
            names,
            skips: Vec::new(),
        }
    }

    /// What outlives it. Whoever waits for the outcome of planned work learns that it will not come.
    pub(crate) fn into_parts(self) -> (Delivery, Verdicts, Option<Receipts>) {
        (self.delivery, self.verdicts, self.receipts)
    }

    /// # Errors
    ///
    /// Nothing is consumed any more: no row would become COMPLETE.
    pub(crate) fn check_receipts(&mut self) -> Result<()> {
        match &mut self.receipts {
            Some(receipts) if receipts.has_ended() => {
                bail!("the receipts' consumer has ended; this is a bug in Postrider, please report it")
            }
            _ => Ok(()),
        }
    }

    /// Whether something waits for the producer. Nothing is read or planned while it does.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The log brought an event, and it is admitted; it may have to be asked for before it is ready.
    pub(crate) fn admitted(&mut self, token: Token, event: &Event) {
        if self.delivery.writes_back() {
            self.buckets.enters(token, event.created_at_us);
        }
    }

    /// An event of the log is to be published, behind those that came before.
    pub(crate) fn is_ready(&mut self, token: Token, event: Event) {
        self.ready.push_back(Ready { token, event, cause: None });
    }

    /// An event of the log was found published.
    pub(crate) fn skipped(&mut self, token: Token) {
        self.buckets.leaves(token);
    }

    /// A row was inserted with a status that says it was published.
    pub(crate) fn inserted_published(&mut self, event: &Event) {
        self.deadlines.inserted_published(event.created_at_us);
    }

    /// Takes planned work on.
    pub(crate) fn plan(&mut self, planned: QueuedCommand, ledger: &mut InFlightLedger) -> Result<()> {
        let QueuedCommand { command: work, done } = planned;
        match work {
            ResendCommand::Resend { event, .. } if self.planned.has(event.id) => {
                let _ = done.send(ResendOutcome::AlreadyInFlight);
            }
            ResendCommand::Resend { event, cause } => {
                let token = ledger.resend(event.size_bytes());
                self.planned.begins(token, event.id, done);
                self.ready.push_back(Ready { token, event, cause: Some(cause) });
            }
            ResendCommand::Complete { id, place } => {
                let StoredPlace { topic, partition, offset } = place;
                let at = RecordPosition { topic: Arc::from(topic), partition, offset };
                self.change(id, RowUpdateKind::Consumed { at, by_request: false }, done, ledger)?;
            }
            ResendCommand::GiveUp { id, reason } => {
                error!(%id, "given up: {reason}; the row says FAILED");
                self.change(id, RowUpdateKind::Failed { reason, sent: false, head_of: None }, done, ledger)?;
            }
            ResendCommand::Skip { id } => {
                if self.lanes.release(id) {
                    self.skips.push((id, done));
                } else {
                    let _ = done.send(ResendOutcome::NothingHeld);
                }
            }
        }
        Ok(())
    }

    fn change(
        &mut self,
        id: Uuid,
        kind: RowUpdateKind,
        done: oneshot::Sender<ResendOutcome>,
        ledger: &mut InFlightLedger,
    ) -> Result<()> {
        if self.planned.has(id) {
            let _ = done.send(ResendOutcome::AlreadyInFlight);
            return Ok(());
        }
        let token = ledger.resend(0);
        self.planned.begins(token, id, done);
        ledger.acknowledged(token)?;
        self.delivery.write(
            token,
            crate::relay::publish::in_flight::RowRef { id, xid: None, created_at_us: None },
            kind,
        )
    }

    /// The next lane whose waiting rows may go, and who waits to be told that its head is out of the way.
    pub(crate) fn next_release(&mut self) -> Option<(Release, Option<oneshot::Sender<ResendOutcome>>)> {
        let release = self.lanes.next_release()?;
        let skip = self.skips.iter().position(|(id, _)| Some(*id) == release.head);
        Some((release, skip.map(|index| self.skips.swap_remove(index).1)))
    }

    /// The rest of the line waits behind another row now.
    pub(crate) fn stopped(&mut self, lane: &OrderingKey) {
        self.lanes.stopped(lane);
    }

    /// Nothing waits in line any more.
    pub(crate) fn emptied(&mut self, lane: OrderingKey) {
        self.lanes.emptied(lane);
    }

    /// Hands what is ready to the producer, until that is full.
    pub(crate) fn offer(&mut self, ledger: &mut InFlightLedger) -> Result<(), Ending> {
        while let Some(ready) = self.ready.pop_front() {
            if let Step::Full = self.hand_over(&ready, ledger)? {
                self.ready.push_front(ready);
                break;
            }
        }
        Ok(())
    }

    fn hand_over(&mut self, ready: &Ready, ledger: &mut InFlightLedger) -> Result<Step, Ending> {
        if self.is_behind_one_aside(ready) {
            return Ok(Step::Full);
        }
        if let Some((lane, behind)) = self.waits_behind(ready) {
            self.put_in_line(ready, lane, behind, ledger)?;
            return Ok(Step::Taken);
        }
        let verdict = match self.verdicts.take(ready.event.id) {
            Some(verdict) => verdict,
            None => match self.publish(ready) {
                Ok(()) => return Ok(Step::Taken),
                Err(PublishError::Full) => return Ok(Step::Full),
                Err(PublishError::Refused(refusal)) => Verdict::unsent(&refusal),
                Err(PublishError::Broken(error)) => return Err(Ending::ProducerLost(error)),
            },
        };
        self.set_aside(ready, verdict, ledger)
    }

    fn publish(&mut self, ready: &Ready) -> Result<(), PublishError> {
        if self.verdicts.has_topics()
            && let Some(topic) = self.delivery.topic(&ready.event)
            && let Some(refusal) = self.verdicts.of_topic(&topic)
        {
            return Err(PublishError::Refused(refusal));
        }
        self.delivery.publish(ready.token, &ready.event, ready.cause)
    }

    /// The lane that keeps the event from being sent now, and the row at its head. What is sent again on purpose
    /// has had its turn, and so has the head itself.
    fn waits_behind(&mut self, ready: &Ready) -> Option<(OrderingKey, Uuid)> {
        if self.lanes.is_empty() || (ready.cause.is_some() && ready.event.status != Some(Status::Init)) {
            return None;
        }
        let lane = self.delivery.lane(&ready.event)?;
        let behind = self.lanes.behind(&lane)?;
        let is_let_go = ready.cause == Some(ResendCause::HeldKey) && self.lanes.lets_go(&lane);
        (!is_let_go && behind != ready.event.id).then_some((lane, behind))
    }

    fn is_behind_one_aside(&mut self, ready: &Ready) -> bool {
        if self.aside.is_empty() {
            return false;
        }
        let lane = self.delivery.lane(&ready.event);
        lane.is_some_and(|lane| self.aside.values().any(|aside| *aside == lane))
    }

    fn put_in_line(
        &mut self,
        ready: &Ready,
        lane: OrderingKey,
        behind: Uuid,
        ledger: &mut InFlightLedger,
    ) -> Result<(), Ending> {
        self.lanes.joins(&lane, ready.token);
        self.planned.ends_as(ready.token, ResendOutcome::Held);
        self.write(ready, RowUpdateKind::Held { key: Some(lane), head: behind }, ledger)
    }

    fn write(
        &mut self,
        ready: &Ready,
        kind: RowUpdateKind,
        ledger: &mut InFlightLedger,
    ) -> Result<(), Ending> {
        let written = ledger.acknowledged(ready.token).map_err(anyhow::Error::from);
        let written = written.and_then(|()| self.delivery.write(ready.token, (&ready.event).into(), kind));
        written.map_err(Ending::Failed)
    }

    /// Applies the policy to an event that cannot be published.
    fn set_aside(
        &mut self,
        ready: &Ready,
        verdict: Verdict,
        ledger: &mut InFlightLedger,
    ) -> Result<Step, Ending> {
        let id = ready.event.id;
        if let Some(lane) = self.delivery.lane(&ready.event) {
            self.aside.insert(ready.token, lane);
        }
        if self.stops_for(ready.cause) {
            return Err(Ending::Failed(self.why_it_stops(id, &verdict.reason)));
        }
        let is_new = ready.cause.is_none() || ready.event.status == Some(Status::Init);
        let head_of = match self.policy {
            Policy::Hold if is_new => self.delivery.lane(&ready.event),
            _ => None,
        };
        if is_new
            && self.policy == Policy::Park
            && !verdict.dead_letter_refused
            && let Some(topic) = self.dead_letter_topic.clone()
        {
            return self.bury(ready, &topic, verdict, ledger);
        }
        self.fail(ready, verdict, head_of, ledger)
    }

    fn bury(
        &mut self,
        ready: &Ready,
        topic: &Arc<str>,
        verdict: Verdict,
        ledger: &mut InFlightLedger,
    ) -> Result<Step, Ending> {
        let Verdict { reason, sent, .. } = &verdict;
        match self.delivery.bury(ready.token, &ready.event, topic, reason, *sent) {
            Ok(()) => {
                tell_failed(ready.event.id, &format!("{reason}; its dead letter goes to {topic}"));
                self.planned.ends_as(ready.token, ResendOutcome::Failed(verdict.reason));
                Ok(Step::Taken)
            }
            Err(PublishError::Full) => {
                self.aside.remove(&ready.token);
                self.verdicts.keep(ready.event.id, verdict);
                Ok(Step::Full)
            }
            Err(PublishError::Refused(refusal)) => {
                let reason = format!("{reason}; and its dead letter was refused: {refusal}");
                let verdict = Verdict { reason, sent: *sent, dead_letter_refused: true };
                if !self.delivery.writes_back() {
                    return Err(Ending::Failed(self.why_it_stops(ready.event.id, &verdict.reason)));
                }
                self.fail(ready, verdict, None, ledger)
            }
            Err(PublishError::Broken(error)) => {
                self.verdicts.keep(ready.event.id, verdict);
                Err(Ending::ProducerLost(error))
            }
        }
    }

    fn fail(
        &mut self,
        ready: &Ready,
        verdict: Verdict,
        head_of: Option<OrderingKey>,
        ledger: &mut InFlightLedger,
    ) -> Result<Step, Ending> {
        let Verdict { reason, sent, .. } = verdict;
        match &head_of {
            Some(_) => tell_failed(ready.event.id, &format!("{reason}; later rows of its key wait")),
            None => tell_failed(ready.event.id, &reason),
        }
        if let Some(lane) = &head_of {
            self.lanes.hold(lane.clone(), ready.event.id);
        }
        let goes_on = head_of.is_none() || ready.cause != Some(ResendCause::HeldKey);
        let outcome = if goes_on { ResendOutcome::Failed(reason.clone()) } else { ResendOutcome::Held };
        self.planned.ends_as(ready.token, outcome);
        self.write(ready, RowUpdateKind::Failed { reason, sent, head_of }, ledger)?;
        Ok(Step::Taken)
    }

    /// Whether an event that cannot be published stops the relay. What a person or the reconciler wants sent
    /// again never does. Without a row to say so, and without a dead letter, nothing would tell of it.
    fn stops_for(&self, cause: Option<ResendCause>) -> bool {
        let disappears =
            !self.delivery.writes_back() && (self.dead_letter_topic.is_none() || self.policy != Policy::Park);
        cause.is_none() && (self.policy == Policy::Stop || disappears)
    }

    fn why_it_stops(&self, id: Uuid, reason: &str) -> anyhow::Error {
        anyhow!(
            "row {id} cannot be published: {reason}. The relay stops before it: the slot is not confirmed past \
             this row, and the next start meets it again, as it was inserted: to change the row is of no use. \
             Remove the cause, or leave the row out ({}), then start the relay",
            outbox_store::leave_out_sql(&self.names, id)
        )
    }

    /// Takes note of what became of events. The endings are those that follow from it.
    pub(crate) fn account(
        &mut self,
        delivered: &mut Vec<Delivered>,
        ledger: &mut InFlightLedger,
    ) -> Result<Vec<Ending>> {
        let mut endings = Vec::new();
        for delivered in mem::take(delivered) {
            match delivered {
                Delivered::Acknowledged(token, at) => {
                    ledger.acknowledged(token)?;
                    if let Some(receipts) = &mut self.receipts {
                        receipts.observe(&at);
                    }
                }
                Delivered::Buried(token) => {
                    ledger.acknowledged(token)?;
                    if !self.delivery.writes_back() {
                        self.aside.remove(&token);
                    }
                }
                Delivered::Written(token) => {
                    ledger.written(token)?;
                    self.aside.remove(&token);
                    self.buckets.leaves(token);
                    self.lanes.written(token);
                    if let Some(id) = self.planned.ended(token) {
                        self.lanes.release(id);
                    }
                }
                Delivered::Counted(summary) => self.deadlines.written(&summary),
                Delivered::Refused { token, id, refusal, was_dead_letter } => {
                    endings.push(self.refused(token, id, &refusal, was_dead_letter));
                }
                Delivered::Lost(error) => endings.push(Ending::ProducerLost(error)),
            }
        }
        Ok(endings)
    }

    fn refused(&mut self, token: Token, id: Uuid, refusal: &Refusal, was_dead_letter: bool) -> Ending {
        let is_planned = self.planned.is_token(token);
        if !is_planned && self.policy == Policy::Stop || !self.delivery.writes_back() && was_dead_letter {
            return Ending::Failed(self.why_it_stops(id, &refusal.to_string()));
        }
        self.verdicts.refused(id, refusal, was_dead_letter);
        Ending::Refused
    }
}

/// Once, with its id, where it is decided.
fn tell_failed(id: Uuid, reason: &str) {
    error!(%id, "the row cannot be published and steps aside: {reason}");
}
