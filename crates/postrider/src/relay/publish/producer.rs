//! The Kafka producer over time: running, failing, replaced.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use kafka_sink::{DeliveryReport, PublishError, Routing, Sink, SinkError};
use outbox_store::Backoff;
use rdkafka::ClientConfig;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

/// A producer that ran for this long ends a series of failures.
const STEADY_AFTER: Duration = Duration::from_secs(60);

const CLOSE_MAX: Duration = Duration::from_secs(1);

/// What a producer is made of.
pub(crate) struct ProducerOptions {
    pub(crate) routing: Routing,
    pub(crate) client: ClientConfig,
    pub(crate) records_max: usize,
}

/// Publishes through one [`Sink`] after the other. Records of a failed sink without an acknowledgement are sent again
/// by its owner once [`ProducerEvent::Ended`] has come: the failed sink reports nothing after that.
pub(crate) struct ReplaceableProducer {
    options: ProducerOptions,
    state: ProducerState,
    backoff: Backoff,
    running_since: Instant,
}

enum ProducerState {
    Running(Sink),
    /// No record is handed over any more; the reports of those in flight are awaited.
    Failing(Sink, ProducerFailure),
    /// The failed sink is closed, and the backoff passes.
    Restarting(Pin<Box<dyn Future<Output = ()>>>, Batching),
}

/// Why a producer is replaced.
pub(crate) enum ProducerFailure {
    /// A record was rejected, which is fatal to an idempotent producer.
    Rejection,
    Error(SinkError),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Batching {
    Usual,
    /// One record per request at first, so that a rejection names its record.
    Singles,
}

pub(crate) enum ProducerEvent {
    /// Reports were appended.
    Reports,
    /// No report comes any more for what is in flight.
    Ended,
    /// Records are taken again.
    Restarted,
}

impl ProducerFailure {
    /// A definite error outranks a rejection, which outranks a retryable error. Of two equal ones the first counts.
    fn is_outranked_by(&self, later: &ProducerFailure) -> bool {
        let is_definite =
            |failure: &ProducerFailure| matches!(failure, ProducerFailure::Error(e) if !e.is_retryable());
        match (self, later) {
            (first, later) if is_definite(later) => !is_definite(first),
            (ProducerFailure::Error(first), ProducerFailure::Rejection) => first.is_retryable(),
            _ => false,
        }
    }
}

impl ReplaceableProducer {
    /// # Errors
    ///
    /// librdkafka rejects the configuration.
    pub(crate) fn start(options: ProducerOptions) -> Result<Self, SinkError> {
        let sink = options.sink(Batching::Usual)?;
        let (backoff, running_since) = (Backoff::default(), Instant::now());
        let state = ProducerState::Running(sink);
        Ok(ReplaceableProducer { options, state, backoff, running_since })
    }

    /// Records handed over without a report yet.
    pub(crate) fn in_flight(&self) -> usize {
        match &self.state {
            ProducerState::Running(sink) | ProducerState::Failing(sink, _) => sink.in_flight(),
            ProducerState::Restarting(..) => 0,
        }
    }

    /// Hands over a record through `publish`, unless the producer is being replaced.
    ///
    /// # Errors
    ///
    /// [`PublishError::QueueFull`] or [`PublishError::Rejected`]; a failed producer counts as full.
    pub(crate) fn publish<T>(
        &mut self,
        publish: impl FnOnce(&mut Sink) -> Result<T, PublishError>,
    ) -> Result<T, PublishError> {
        let ProducerState::Running(sink) = &mut self.state else { return Err(PublishError::QueueFull) };
        match publish(sink) {
            Err(PublishError::ProducerFailed(error)) => {
                self.fail(ProducerFailure::Error(error));
                Err(PublishError::QueueFull)
            }
            outcome => outcome,
        }
    }

    /// Hands nothing more to the running sink, and replaces it once all reports are in.
    pub(crate) fn fail(&mut self, failure: ProducerFailure) {
        let closed = ProducerState::Restarting(Box::pin(std::future::pending()), Batching::Usual);
        self.state = match std::mem::replace(&mut self.state, closed) {
            ProducerState::Running(sink) => ProducerState::Failing(sink, failure),
            ProducerState::Failing(sink, first) if first.is_outranked_by(&failure) => {
                ProducerState::Failing(sink, failure)
            }
            state => state,
        };
    }

    /// Waits for reports or a change of the producer. Cancel-safe.
    ///
    /// # Errors
    ///
    /// One that a new producer would meet as well, with its remedy. No event comes after it.
    pub(crate) async fn next(
        &mut self,
        reports: &mut Vec<DeliveryReport>,
    ) -> Result<ProducerEvent, SinkError> {
        match &mut self.state {
            ProducerState::Running(sink) => match sink.reports(reports).await {
                Ok(()) => Ok(ProducerEvent::Reports),
                Err(error) => {
                    self.fail(ProducerFailure::Error(error));
                    self.end()
                }
            },
            ProducerState::Failing(sink, _) if sink.in_flight() == 0 => self.end(),
            ProducerState::Failing(sink, _) => match sink.reports(reports).await {
                Ok(()) => Ok(ProducerEvent::Reports),
                Err(_) => self.end(),
            },
            ProducerState::Restarting(closed, batching) => {
                closed.as_mut().await;
                let batching = *batching;
                self.state = ProducerState::Restarting(Box::pin(std::future::pending()), batching);
                self.state = ProducerState::Running(self.options.sink(batching)?);
                self.running_since = Instant::now();
                Ok(ProducerEvent::Restarted)
            }
        }
    }

    /// Withdraws what is queued or on the wire.
    pub(crate) async fn close(self) {
        match self.state {
            ProducerState::Running(sink) | ProducerState::Failing(sink, _) => sink.close().await,
            ProducerState::Restarting(closed, _) => {
                let _ = timeout(CLOSE_MAX, closed).await;
            }
        }
    }

    fn end(&mut self) -> Result<ProducerEvent, SinkError> {
        let closed = ProducerState::Restarting(Box::pin(std::future::pending()), Batching::Usual);
        let ProducerState::Failing(sink, failure) = std::mem::replace(&mut self.state, closed) else {
            return Ok(ProducerEvent::Ended);
        };
        if self.running_since.elapsed() > STEADY_AFTER {
            self.backoff = Backoff::default();
        }
        let (pause, batching) = match failure {
            ProducerFailure::Rejection => (Duration::ZERO, Batching::Usual),
            ProducerFailure::Error(error) if !error.is_retryable() => return Err(error),
            ProducerFailure::Error(error) if error.needs_singles() => {
                info!(target: "kafka", %error, "batch rejected; sending its records one by one");
                (Duration::ZERO, Batching::Singles)
            }
            ProducerFailure::Error(error) => {
                warn!(target: "kafka", %error, "producer failed; restarting it");
                (self.backoff.next_delay(), Batching::Usual)
            }
        };
        let close = async move {
            sink.close().await;
            sleep(pause).await;
        };
        self.state = ProducerState::Restarting(Box::pin(close), batching);
        Ok(ProducerEvent::Ended)
    }
}

impl ProducerOptions {
    fn sink(&self, batching: Batching) -> Result<Sink, SinkError> {
        let new = match batching {
            Batching::Usual => Sink::new,
            Batching::Singles => Sink::new_with_singles,
        };
        new(self.routing.clone(), self.client.clone(), self.records_max)
    }
}
