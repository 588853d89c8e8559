//! Events that cannot be published or have to wait: the failure policy applied.

use std::sync::Arc;

use anyhow::anyhow;
use kafka_sink::PublishError;
use outbox::{Event, InFlightLedger, OrderingKey, Token, shorten};
use outbox_store::{RowUpdateKind, leave_out_sql};
use reconciler::{ResendCause, ResendOutcome};
use tracing::error;
use uuid::Uuid;

use crate::relay::exit::ExitReason;
use crate::relay::publish::completions::row_update;
use crate::relay::publish::failure_policy::{FailureAction, PublishFailure};
use crate::relay::publish::publisher::{HandOver, Publisher, as_gauge};
use crate::relay::publish::queued_event::{QueuedEvent, SentRecord};

impl Publisher {
    pub(super) fn hold(
        &mut self,
        token: Token,
        queued: &QueuedEvent,
        key: OrderingKey,
        behind: Uuid,
        ledger: &mut InFlightLedger,
    ) -> Result<(), ExitReason> {
        self.held_keys.join(&key, token);
        self.metrics.rows_held.inc();
        self.resends.set_outcome(token, ResendOutcome::Held);
        self.write_unsent(token, &queued.event, RowUpdateKind::Held { key: Some(key), head: behind }, ledger)
    }

    pub(super) fn apply_policy(
        &mut self,
        token: Token,
        queued: QueuedEvent,
        failure: PublishFailure,
        ledger: &mut InFlightLedger,
    ) -> Result<HandOver, ExitReason> {
        let key = self.router.ordering_key(&queued.event);
        match self.policy.decide(queued.provenance(), &failure) {
            FailureAction::Stop => Err(ExitReason::Failed(self.stop_error(queued.event.id, &failure.reason))),
            FailureAction::DeadLetter(topic) => self.send_dead_letter(token, queued, &topic, failure, ledger),
            FailureAction::Hold if self.is_anything_in_flight() => {
                // On a restart an earlier event of the key that is not durably published would wait behind this one.
                Ok(HandOver::Waits(token, Box::new(QueuedEvent { failure: Some(failure), ..queued })))
            }
            FailureAction::Hold => self.fail(token, queued, failure, key.clone(), key, ledger),
            FailureAction::Fail => self.fail(token, queued, failure, key, None, ledger),
        }
    }

    fn send_dead_letter(
        &mut self,
        token: Token,
        mut queued: QueuedEvent,
        topic: &Arc<str>,
        failure: PublishFailure,
        ledger: &mut InFlightLedger,
    ) -> Result<HandOver, ExitReason> {
        let publish = self
            .in_flight
            .producer
            .publish(|sink| sink.publish_dead_letter(&queued.event, token, topic, &failure.reason));
        match publish {
            Ok(topic) => {
                let (id, reason) = (queued.event.id, shorten(&failure.reason));
                error!(%id, %reason, dead_letter_topic = &*topic, "row marked FAILED");
                if let Some(key) = self.router.ordering_key(&queued.event) {
                    self.failing_keys.insert(token, key);
                }
                self.resends.set_outcome(token, ResendOutcome::Failed(failure.reason.clone()));
                queued.failure = Some(failure);
                queued.record = Some(SentRecord { topic, is_dead_letter: true });
                self.queue.handed_over(token, queued);
                Ok(HandOver::Taken)
            }
            Err(PublishError::QueueFull | PublishError::ProducerFailed(_)) => {
                queued.failure = Some(failure);
                Ok(HandOver::Waits(token, Box::new(queued)))
            }
            Err(PublishError::Rejected(rejection)) => {
                self.apply_policy(token, queued, failure.and_dead_letter(&rejection), ledger)
            }
        }
    }

    /// Marks the row FAILED; with `holds`, later rows of that key wait behind it.
    fn fail(
        &mut self,
        token: Token,
        queued: QueuedEvent,
        failure: PublishFailure,
        key: Option<OrderingKey>,
        holds: Option<OrderingKey>,
        ledger: &mut InFlightLedger,
    ) -> Result<HandOver, ExitReason> {
        let PublishFailure { reason, sent, .. } = failure;
        let id = queued.event.id;
        match &holds {
            Some(_) => {
                error!(%id, reason = %shorten(&reason), "row marked FAILED; later rows of its key are held")
            }
            None => error!(%id, reason = %shorten(&reason), "row marked FAILED"),
        }
        self.metrics.rows_failed.inc();
        if let Some(key) = key {
            self.failing_keys.insert(token, key);
        }
        if let Some(key) = &holds {
            self.held_keys.hold(key.clone(), queued.event.id);
            self.metrics.held_keys.set(as_gauge(self.held_keys.len()));
        }
        let blocks_drain = holds.is_some() && queued.cause == Some(ResendCause::HeldKey);
        let outcome = match blocks_drain {
            true => ResendOutcome::Held,
            false => ResendOutcome::Failed(reason.clone()),
        };
        self.resends.set_outcome(token, outcome);
        self.write_unsent(
            token,
            &queued.event,
            RowUpdateKind::Failed { reason, sent, head_of: holds },
            ledger,
        )?;
        Ok(HandOver::Taken)
    }

    /// A row update of an event that the producer does not get.
    fn write_unsent(
        &mut self,
        token: Token,
        event: &Event,
        kind: RowUpdateKind,
        ledger: &mut InFlightLedger,
    ) -> Result<(), ExitReason> {
        let acknowledged = ledger.acknowledged(token).map_err(anyhow::Error::from);
        acknowledged
            .and_then(|()| self.in_flight.write(token, row_update(event, kind)))
            .map_err(ExitReason::Failed)
    }

    fn stop_error(&self, id: Uuid, reason: &str) -> anyhow::Error {
        anyhow!(
            "row {id} cannot be published: {}. The relay stops before it (failure.policy), and the slot is not \
             confirmed past it. Changing the row has no effect, because the WAL holds it as it was inserted. Remove \
             the cause, or exclude the row ({}), then start the relay again",
            shorten(reason),
            leave_out_sql(&self.names, id)
        )
    }

    fn is_anything_in_flight(&self) -> bool {
        self.queue.unacknowledged() + self.in_flight.unwritten() > 0
    }
}
