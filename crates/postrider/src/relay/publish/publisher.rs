//! Hands events over to the producer and follows each until its row update is durable.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use kafka_sink::{EventRouter, PublishError, Receipts};
use outbox::{Event, InFlightLedger, Metrics, OrderingKey, SendQueue, Token, shorten};
use outbox_store::{Names, RowUpdate, RowUpdateKind};
use reconciler::{DeadlineTracker, QueuedCommand, ResendCause, ResendCommand, ResendOutcome};
use tokio::sync::oneshot;
use tracing::error;
use uuid::Uuid;

use crate::relay::exit::ExitReason;
use crate::relay::publish::deadline_buckets::DeadlineBuckets;
use crate::relay::publish::failure_policy::{FailurePolicy, Provenance, PublishFailure};
use crate::relay::publish::held_keys::{Drain, HeldKeys};
use crate::relay::publish::in_flight::InFlight;
use crate::relay::publish::queued_event::{QueuedEvent, SentRecord};
use crate::relay::publish::resends::Resends;
use crate::relay::publish::topic_rejections::TopicRejections;
use crate::relay::publish::value_stage::{PayloadAsIs, ValueStage};

/// What a publisher starts with.
pub(crate) struct PublisherParts {
    pub(crate) in_flight: InFlight,
    pub(crate) router: EventRouter,
    pub(crate) held_keys: HeldKeys,
    pub(crate) deadlines: DeadlineTracker,
    /// `None` where rows do not become COMPLETE.
    pub(crate) receipts: Option<Receipts>,
    pub(crate) policy: FailurePolicy,
    pub(crate) names: Names,
    pub(crate) metrics: Metrics,
}

/// The events between admission and their durable row update.
pub(crate) struct Publisher {
    pub(crate) in_flight: InFlight,
    pub(crate) values: ValueStage,
    pub(super) router: EventRouter,
    pub(super) queue: SendQueue<QueuedEvent>,
    pub(super) held_keys: HeldKeys,
    /// The keys of failed rows that are not durably FAILED yet. Later events of these keys wait: if they were sent
    /// and the process killed, the next start would send the failed row after them.
    pub(super) failing_keys: HashMap<Token, OrderingKey>,
    pub(super) topic_rejections: TopicRejections,
    pub(super) resends: Resends,
    /// Skip requests that wait until their key is released.
    pub(super) skips: Vec<(Uuid, oneshot::Sender<ResendOutcome>)>,
    pub(super) buckets: DeadlineBuckets,
    pub(super) deadlines: DeadlineTracker,
    pub(super) receipts: Option<Receipts>,
    pub(super) policy: FailurePolicy,
    pub(super) names: Names,
    pub(super) metrics: Metrics,
}

/// The outcome of handing over one event.
pub(super) enum HandOver {
    /// The event left the queue, or the producer has it.
    Taken,
    /// The event waits at the front of the queue.
    Waits(Token, Box<QueuedEvent>),
}

impl Publisher {
    pub(crate) fn new(parts: PublisherParts) -> Self {
        let PublisherParts { in_flight, router, held_keys, deadlines, receipts, policy, names, metrics } =
            parts;
        metrics.held_keys.set(as_gauge(held_keys.len()));
        Publisher {
            in_flight,
            values: ValueStage::new(PayloadAsIs),
            router,
            queue: SendQueue::default(),
            held_keys,
            failing_keys: HashMap::new(),
            topic_rejections: TopicRejections::default(),
            resends: Resends::default(),
            skips: Vec::new(),
            buckets: DeadlineBuckets::new(deadlines.clone()),
            deadlines,
            receipts,
            policy,
            names,
            metrics,
        }
    }

    /// Closing these ends the session's publishing; senders that wait for the outcome of a resend are dropped.
    pub(crate) fn into_parts(self) -> (InFlight, Option<Receipts>) {
        (self.in_flight, self.receipts)
    }

    /// # Errors
    ///
    /// The thread that consumes receipts ended, so no row would become COMPLETE.
    pub(crate) fn check_receipts(&self) -> Result<()> {
        match &self.receipts {
            Some(receipts) if receipts.has_ended() => {
                Err(anyhow!("the receipts consumer ended; this is a bug in Postrider, please report it"))
            }
            _ => Ok(()),
        }
    }

    /// Whether events wait for the producer. Nothing more is read or resent while they do.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.queue.is_empty()
    }

    /// An event of the WAL was admitted; its status may have to be looked up before it is ready.
    pub(crate) fn admitted(&mut self, token: Token, event: &Event) {
        self.metrics.events_read.inc();
        if self.in_flight.writes_back() {
            self.buckets.enter(token, event.created_at_us);
        }
    }

    /// An event of the WAL is published behind all that came before it.
    pub(crate) fn ready(&mut self, token: Token, event: Event) {
        self.encode(token, QueuedEvent::new(event, None));
    }

    /// An event of the WAL needs no publishing: its row is already PUBLISH, COMPLETE or FAILED.
    pub(crate) fn skipped(&mut self, token: Token) {
        self.metrics.events_already_delivered.inc();
        self.buckets.leave(token);
    }

    /// A row was inserted with status PUBLISH.
    pub(crate) fn inserted_published(&mut self, event: &Event) {
        self.deadlines.inserted_published(event.created_at_us);
    }

    /// An event whose value is encoded, as [`ValueStage::next_encoded`] returned it.
    pub(crate) fn encoded(&mut self, token: Token, queued: QueuedEvent) {
        self.queue.push(token, queued);
    }

    /// Starts a command of the reconciler, of a replay or of a held key's drain.
    pub(crate) fn resend(&mut self, command: QueuedCommand, ledger: &mut InFlightLedger) -> Result<()> {
        let QueuedCommand { command, done } = command;
        match command {
            ResendCommand::Resend { event, .. } if self.resends.contains(event.id) => {
                let _ = done.send(ResendOutcome::AlreadyInFlight);
            }
            ResendCommand::Resend { event, cause } => {
                let token = ledger.resend(event.size_bytes());
                self.resends.insert(token, event.id, done);
                self.encode(token, QueuedEvent::new(event, Some(cause)));
            }
            ResendCommand::Complete { id, place } => {
                self.update_row(id, RowUpdateKind::Consumed { at: place, by_request: true }, done, ledger)?;
            }
            ResendCommand::GiveUp { id, reason } => {
                error!(%id, reason = %shorten(&reason), "row marked FAILED: attempts exhausted");
                self.metrics.rows_failed.inc();
                let kind = RowUpdateKind::Failed { reason, sent: false, head_of: None };
                self.update_row(id, kind, done, ledger)?;
            }
            ResendCommand::Skip { id } => {
                if self.held_keys.release(id) {
                    self.skips.push((id, done));
                } else {
                    let _ = done.send(ResendOutcome::NothingHeld);
                }
            }
        }
        Ok(())
    }

    /// The next held key to drain, and the skip request that waits for its release.
    pub(crate) fn next_drain(&mut self) -> Option<(Drain, Option<oneshot::Sender<ResendOutcome>>)> {
        let drain = self.held_keys.next_drain()?;
        let skip = self.skips.iter().position(|(id, _)| Some(*id) == drain.released_head);
        Some((drain, skip.map(|index| self.skips.swap_remove(index).1)))
    }

    pub(crate) fn drained(&mut self, key: OrderingKey) {
        self.held_keys.drained(key);
        self.metrics.held_keys.set(as_gauge(self.held_keys.len()));
    }

    pub(crate) fn drain_blocked(&mut self, key: &OrderingKey) {
        self.held_keys.drain_blocked(key);
    }

    /// Hands events over until the producer is full or the queue is empty.
    pub(crate) fn hand_over_ready(&mut self, ledger: &mut InFlightLedger) -> Result<(), ExitReason> {
        while let Some((token, queued)) = self.queue.pop() {
            if let HandOver::Waits(token, queued) = self.hand_over(token, queued, ledger)? {
                self.queue.put_back(token, *queued);
                break;
            }
        }
        Ok(())
    }

    fn encode(&mut self, token: Token, queued: QueuedEvent) {
        if let Some((token, queued)) = self.values.push(token, queued) {
            self.queue.push(token, queued);
        }
    }

    /// A row update without a record.
    fn update_row(
        &mut self,
        id: Uuid,
        kind: RowUpdateKind,
        done: oneshot::Sender<ResendOutcome>,
        ledger: &mut InFlightLedger,
    ) -> Result<()> {
        if self.resends.contains(id) {
            let _ = done.send(ResendOutcome::AlreadyInFlight);
            return Ok(());
        }
        let token = ledger.resend(0);
        self.resends.insert(token, id, done);
        ledger.acknowledged(token)?;
        self.in_flight.write(token, RowUpdate::new(id, kind))
    }

    fn hand_over(
        &mut self,
        token: Token,
        mut queued: QueuedEvent,
        ledger: &mut InFlightLedger,
    ) -> Result<HandOver, ExitReason> {
        if self.waits_for_failing_key(&queued.event) {
            return Ok(HandOver::Waits(token, Box::new(queued)));
        }
        if let Some((key, behind)) = self.waits_behind(&queued) {
            self.hold(token, &queued, key, behind, ledger)?;
            return Ok(HandOver::Taken);
        }
        let failure = match queued.failure.take() {
            Some(failure) => failure,
            None => match self.publish(token, &queued) {
                Ok(topic) => {
                    queued.record = Some(SentRecord { topic, is_dead_letter: false });
                    self.queue.handed_over(token, queued);
                    return Ok(HandOver::Taken);
                }
                Err(PublishError::QueueFull | PublishError::ProducerFailed(_)) => {
                    return Ok(HandOver::Waits(token, Box::new(queued)));
                }
                Err(PublishError::Rejected(rejection)) => PublishFailure::before_sending(&rejection),
            },
        };
        self.apply_policy(token, queued, failure, ledger)
    }

    fn publish(&mut self, token: Token, queued: &QueuedEvent) -> Result<Arc<str>, PublishError> {
        if !self.topic_rejections.is_empty()
            && let Some(topic) = self.router.topic(&queued.event)
            && let Some(rejection) = self.topic_rejections.get(&topic)
        {
            return Err(PublishError::Rejected(rejection));
        }
        let mut id = Uuid::encode_buffer();
        let replay = match queued.cause {
            Some(ResendCause::Replay(request)) => Some(&*request.hyphenated().encode_lower(&mut id)),
            Some(ResendCause::Reconciler) => Some("reconciler"),
            Some(ResendCause::HeldKey) | None => None,
        };
        self.in_flight.producer.publish(|sink| sink.publish(&queued.event, token, replay))
    }

    /// The held key that the event waits in, and the failed row it waits behind. A resend of a published row had its
    /// turn, and the failed row itself does not wait.
    fn waits_behind(&mut self, queued: &QueuedEvent) -> Option<(OrderingKey, Uuid)> {
        if self.held_keys.is_empty() || queued.provenance() == Provenance::PublishedResend {
            return None;
        }
        let key = self.router.ordering_key(&queued.event)?;
        let behind = self.held_keys.behind(&key)?;
        let is_drained = queued.cause == Some(ResendCause::HeldKey) && self.held_keys.is_draining(&key);
        (!is_drained && behind != queued.event.id).then_some((key, behind))
    }

    fn waits_for_failing_key(&mut self, event: &Event) -> bool {
        if self.failing_keys.is_empty() {
            return false;
        }
        let key = self.router.ordering_key(event);
        key.is_some_and(|key| self.failing_keys.values().any(|failing| *failing == key))
    }
}

pub(super) fn as_gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
