//! An event on its way to the broker.

use std::sync::Arc;

use outbox::{Event, Status};
use reconciler::ResendCause;

use crate::relay::publish::failure_policy::{Provenance, PublishFailure};

/// An admitted event, until its record is acknowledged or its failure is recorded.
pub(crate) struct QueuedEvent {
    pub(crate) event: Event,
    /// `None` for an event of the WAL.
    pub(crate) cause: Option<ResendCause>,
    /// Why its record cannot be published.
    pub(crate) failure: Option<PublishFailure>,
    /// The record that the producer has.
    pub(crate) record: Option<SentRecord>,
}

/// A record handed to the producer.
pub(crate) struct SentRecord {
    pub(crate) topic: Arc<str>,
    pub(crate) is_dead_letter: bool,
}

impl QueuedEvent {
    pub(crate) fn new(event: Event, cause: Option<ResendCause>) -> Self {
        QueuedEvent { event, cause, failure: None, record: None }
    }

    pub(crate) fn provenance(&self) -> Provenance {
        match (self.cause, self.event.status) {
            (None, _) => Provenance::Live,
            (Some(_), Some(Status::Init)) => Provenance::UnpublishedResend,
            (Some(_), _) => Provenance::PublishedResend,
        }
    }
}
