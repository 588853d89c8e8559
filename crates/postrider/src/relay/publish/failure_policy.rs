//! The failure policy: what becomes of an event that cannot be published.

use std::sync::Arc;

use kafka_sink::Rejection;

use crate::config::Policy;

/// Why an event cannot be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublishFailure {
    /// Ends up in the row's `last_error`.
    pub(crate) reason: String,
    /// Whether the record was handed to the broker, which counts as an attempt.
    pub(crate) sent: bool,
    /// Whether the row's dead letter was rejected as well.
    pub(crate) dead_letter_rejected: bool,
}

impl PublishFailure {
    /// The record was rejected before it was sent.
    pub(crate) fn before_sending(rejection: &Rejection) -> Self {
        PublishFailure { reason: rejection.to_string(), sent: false, dead_letter_rejected: false }
    }

    /// The broker rejected the record.
    pub(crate) fn by_broker(rejection: &Rejection) -> Self {
        PublishFailure { reason: rejection.to_string(), sent: true, dead_letter_rejected: false }
    }

    /// The dead letter of an event that failed with `self` was rejected.
    pub(crate) fn and_dead_letter(self, rejection: &Rejection) -> Self {
        PublishFailure {
            reason: format!("{}; its dead letter was rejected: {rejection}", self.reason),
            dead_letter_rejected: true,
            ..self
        }
    }
}

/// Where a failed event came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provenance {
    /// From the WAL.
    Live,
    /// A resend of a row that is still INIT, so it was never published.
    UnpublishedResend,
    /// A resend of a row that was published before.
    PublishedResend,
}

/// What is done with a failed event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FailureAction {
    /// The relay stops before the event; the slot is not confirmed past it.
    Stop,
    /// The event goes to the dead letter topic, and its row becomes FAILED.
    DeadLetter(Arc<str>),
    /// The row becomes FAILED, and later rows of its key are held.
    Hold,
    /// The row becomes FAILED, and later rows of its key go on.
    Fail,
}

/// `[failure]` of the configuration.
pub(crate) struct FailurePolicy {
    pub(crate) policy: Policy,
    pub(crate) dead_letter_topic: Option<Arc<str>>,
    /// Whether a row can become FAILED.
    pub(crate) writes_back: bool,
}

impl FailurePolicy {
    /// A resend never stops the relay. Without write-back no row records the failure, so a live event that cannot
    /// be dead-lettered stops the relay whatever the policy.
    pub(crate) fn decide(&self, provenance: Provenance, failure: &PublishFailure) -> FailureAction {
        let is_unpublished = provenance != Provenance::PublishedResend;
        let dead_letter_topic = match self.policy {
            Policy::Park if is_unpublished && !failure.dead_letter_rejected => self.dead_letter_topic.clone(),
            _ => None,
        };
        let is_live = provenance == Provenance::Live;
        if is_live && (self.policy == Policy::Stop || !self.writes_back && dead_letter_topic.is_none()) {
            return FailureAction::Stop;
        }
        match (dead_letter_topic, self.policy) {
            (Some(topic), _) => FailureAction::DeadLetter(topic),
            (None, Policy::Hold) if is_unpublished => FailureAction::Hold,
            (None, _) => FailureAction::Fail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(
        policy: Policy,
        topic: Option<&str>,
        writes_back: bool,
        provenance: Provenance,
    ) -> FailureAction {
        let policy = FailurePolicy { policy, dead_letter_topic: topic.map(Arc::from), writes_back };
        policy.decide(provenance, &failure(false))
    }

    fn failure(dead_letter_rejected: bool) -> PublishFailure {
        PublishFailure { reason: "too large".to_owned(), sent: true, dead_letter_rejected }
    }

    #[test]
    fn failure_policy_applies_to_live_events() {
        use FailureAction::{DeadLetter, Fail, Hold, Stop};
        let live = Provenance::Live;
        assert_eq!(decide(Policy::Park, None, true, live), Fail);
        assert_eq!(decide(Policy::Park, Some("dead"), true, live), DeadLetter("dead".into()));
        assert_eq!(decide(Policy::Hold, Some("dead"), true, live), Hold);
        assert_eq!(decide(Policy::Stop, Some("dead"), true, live), Stop);
    }

    #[test]
    fn failure_policy_never_loses_an_event_without_write_back() {
        let live = Provenance::Live;
        assert_eq!(decide(Policy::Park, None, false, live), FailureAction::Stop);
        assert_eq!(decide(Policy::Hold, Some("dead"), false, live), FailureAction::Stop);
        assert_eq!(decide(Policy::Park, Some("dead"), false, live), FailureAction::DeadLetter("dead".into()));
        let policy = FailurePolicy {
            policy: Policy::Park,
            dead_letter_topic: Some("dead".into()),
            writes_back: false,
        };
        assert_eq!(policy.decide(live, &failure(true)), FailureAction::Stop, "its dead letter was rejected");
    }

    #[test]
    fn failure_policy_neither_stops_nor_dead_letters_a_resend_of_a_published_row() {
        for policy in [Policy::Park, Policy::Hold, Policy::Stop] {
            assert_eq!(decide(policy, Some("dead"), true, Provenance::PublishedResend), FailureAction::Fail);
        }
        assert_eq!(decide(Policy::Hold, None, true, Provenance::UnpublishedResend), FailureAction::Hold);
        assert_eq!(decide(Policy::Stop, None, true, Provenance::UnpublishedResend), FailureAction::Fail);
    }
}
