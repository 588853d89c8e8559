//! Delivery reports and durable row updates.

use std::mem;

use anyhow::{Result, anyhow};
use kafka_sink::{DeliveryError, DeliveryReport, PartitionOffset};
use outbox::{Component, Event, InFlightLedger, RecordPosition, RepublishCause, Token};
use outbox_store::{RowUpdate, RowUpdateKind};
use reconciler::ResendCause;
use tracing::debug;

use crate::relay::publish::failure_policy::PublishFailure;
use crate::relay::publish::in_flight::Completion;
use crate::relay::publish::producer::ProducerFailure;
use crate::relay::publish::publisher::Publisher;
use crate::relay::publish::queued_event::{QueuedEvent, SentRecord};

impl Publisher {
    /// Applies completions to the ledger and the queue.
    ///
    /// # Errors
    ///
    /// No producer can be started any more; or a completion does not fit the ledger, which is a bug.
    pub(crate) fn complete(
        &mut self,
        completions: &mut Vec<Completion>,
        ledger: &mut InFlightLedger,
    ) -> Result<()> {
        let mut failed = None;
        for completion in mem::take(completions) {
            match completion {
                Completion::Reported(report) => self.reported(report, ledger)?,
                Completion::ProducerEnded => {
                    // A dead letter that the producer had is sent again in its turn.
                    self.failing_keys.retain(|token, _| self.queue.handed_over_mut(*token).is_none());
                    let unacknowledged = self.queue.producer_ended();
                    self.metrics.reconnects(Component::Producer).inc();
                    debug!(target: "kafka", unacknowledged, "unacknowledged events are sent again");
                }
                Completion::ProducerRestarted => {}
                Completion::ProducerFailed(error) => failed = Some(error),
                Completion::Written(token) => self.written(token, ledger)?,
                Completion::Summary(summary) => {
                    self.metrics.rows_completed.inc_by(summary.completed.iter().map(|(_, rows)| rows).sum());
                    self.deadlines.written(&summary);
                }
            }
        }
        // Last, so that draining waits for the row updates of what was acknowledged.
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn reported(&mut self, report: DeliveryReport, ledger: &mut InFlightLedger) -> Result<()> {
        let DeliveryReport { token, outcome } = report;
        match outcome {
            Ok(at) => self.acknowledged(token, at, ledger),
            Err(DeliveryError::Rejected(rejection)) => {
                self.metrics.records_rejected.inc();
                self.topic_rejections.observe(&rejection);
                if let Some(queued) = self.queue.handed_over_mut(token) {
                    queued.failure = Some(match queued.failure.take() {
                        Some(failure) => failure.and_dead_letter(&rejection),
                        None => PublishFailure::by_broker(&rejection),
                    });
                }
                self.in_flight.producer.fail(ProducerFailure::Rejection);
                Ok(())
            }
            Err(DeliveryError::ProducerFailed(error)) => {
                self.in_flight.producer.fail(ProducerFailure::Error(error));
                Ok(())
            }
        }
    }

    fn acknowledged(&mut self, token: Token, at: PartitionOffset, ledger: &mut InFlightLedger) -> Result<()> {
        let queued = self.queue.acknowledged(token);
        let QueuedEvent { event, cause, failure, record } =
            queued.ok_or_else(|| anyhow!("delivery report for a record that is not in flight"))?;
        let SentRecord { topic, is_dead_letter } =
            record.ok_or_else(|| anyhow!("delivery report for a record that was not sent"))?;
        ledger.acknowledged(token)?;
        let kind = match (is_dead_letter, failure, cause) {
            (true, Some(PublishFailure { reason, sent, .. }), _) => {
                self.metrics.dead_letters_published.inc();
                self.metrics.rows_failed.inc();
                if !self.in_flight.writes_back() {
                    self.failing_keys.remove(&token);
                }
                RowUpdateKind::Failed { reason, sent, head_of: None }
            }
            (_, _, cause) => {
                self.metrics.events_published.inc();
                let position = RecordPosition { topic, partition: at.partition, offset: at.offset };
                if let Some(receipts) = &mut self.receipts {
                    receipts.observe(&position);
                }
                match cause {
                    None => RowUpdateKind::Published(position),
                    Some(cause) => {
                        self.metrics.republished(republish_cause(cause)).inc();
                        RowUpdateKind::Resent(position)
                    }
                }
            }
        };
        self.in_flight.write(token, row_update(&event, kind))
    }

    fn written(&mut self, token: Token, ledger: &mut InFlightLedger) -> Result<()> {
        ledger.written(token)?;
        self.metrics.rows_written_back.inc();
        self.failing_keys.remove(&token);
        self.buckets.leave(token);
        self.held_keys.written(token);
        if let Some(id) = self.resends.complete(token) {
            self.held_keys.release(id);
        }
        Ok(())
    }
}

pub(super) fn row_update(event: &Event, kind: RowUpdateKind) -> RowUpdate {
    let (xid, created_at_us) = (event.xid, event.created_at_us);
    let update = RowUpdate { xid, created_at_us, ..RowUpdate::new(event.id, kind) };
    let kept = update.is_fail_or_hold().then(|| Box::new(event.clone()));
    RowUpdate { event: kept, ..update }
}

fn republish_cause(cause: ResendCause) -> RepublishCause {
    match cause {
        ResendCause::Replay(_) => RepublishCause::Replay,
        ResendCause::Reconciler => RepublishCause::Reconciler,
        ResendCause::HeldKey => RepublishCause::HeldKey,
    }
}
