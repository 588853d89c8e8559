//! Why a question to Kafka has no answer.

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::consume::read_error::ReadError;

/// Why a question to Kafka has no answer. It implies nothing about the subject of the question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct InspectError(#[from] InspectErrorKind);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InspectErrorKind {
    #[error("could not read {subject} from Kafka ({reason})")]
    Unanswered { subject: String, reason: String },
    #[error("Kafka denies reading {subject}: {code}; {remedy}")]
    Denied { subject: String, code: Code, remedy: &'static str },
    #[error("could not create a Kafka consumer: {0}; see [kafka] in the configuration")]
    NotCreated(String),
    #[error(transparent)]
    Read(ReadError),
    #[error("the thread that queries Kafka has ended; this is a bug in Postrider, please report it")]
    ThreadEnded,
}

impl InspectError {
    /// Whether a later attempt may succeed without a change of the configuration or of privileges.
    pub fn is_retryable(&self) -> bool {
        match &self.0 {
            InspectErrorKind::Unanswered { .. } => true,
            InspectErrorKind::Read(error) => error.is_retryable(),
            InspectErrorKind::Denied { .. }
            | InspectErrorKind::NotCreated(_)
            | InspectErrorKind::ThreadEnded => false,
        }
    }

    pub(crate) fn of_code(subject: impl Into<String>, code: Code) -> Self {
        let subject = subject.into();
        match remedy(code) {
            Some(remedy) => InspectErrorKind::Denied { subject, code, remedy }.into(),
            None => InspectErrorKind::Unanswered { subject, reason: code.to_string() }.into(),
        }
    }

    pub(crate) fn of(subject: impl Into<String>, error: &KafkaError) -> Self {
        match error.rdkafka_error_code() {
            Some(code) => InspectError::of_code(subject, code),
            None => {
                let (subject, reason) = (subject.into(), error.to_string());
                InspectErrorKind::Unanswered { subject, reason }.into()
            }
        }
    }

    pub(crate) fn not_created(error: &KafkaError) -> Self {
        InspectErrorKind::NotCreated(error.to_string()).into()
    }
}

/// What fixes the error; `None` if waiting may.
pub(crate) fn remedy(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::GroupAuthorizationFailed => "give Postrider's Kafka user the right to Read the group",
        Code::TopicAuthorizationFailed => "give Postrider's Kafka user the right to Read the topic",
        Code::ClusterAuthorizationFailed => "give Postrider's Kafka user the right to Describe the cluster",
        Code::UnknownMemberId | Code::IllegalGeneration => {
            "other consumers have joined the group; set receipts.group to a name that no other consumer uses"
        }
        Code::InvalidGroupId => "the brokers reject this group name; see [receipts] in the configuration",
        _ => return None,
    })
}

/// The remedy for a rejected commit, from librdkafka's log line.
pub(crate) fn remedy_in(line: &str) -> Option<&'static str> {
    const CODES: [(&str, Code); 5] = [
        ("Group authorization failed", Code::GroupAuthorizationFailed),
        ("Topic authorization failed", Code::TopicAuthorizationFailed),
        ("Unknown member", Code::UnknownMemberId),
        ("generation id is not valid", Code::IllegalGeneration),
        ("Invalid group.id", Code::InvalidGroupId),
    ];
    let code = CODES.iter().find(|(text, _)| line.contains(text));
    code.and_then(|(_, code)| remedy(*code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inspect_error_is_retryable_unless_it_has_a_remedy() {
        let denied = InspectError::of_code("the offsets of group billing", Code::GroupAuthorizationFailed);
        assert!(!denied.is_retryable());
        assert!(denied.to_string().contains("group billing"), "{denied}");
        assert!(denied.to_string().contains("the right to Read the group"), "{denied}");
        for code in [Code::OperationTimedOut, Code::LeaderNotAvailable, Code::Authentication, Code::Unknown] {
            assert!(InspectError::of_code("offsets", code).is_retryable(), "{code}");
        }
    }

    #[test]
    fn remedy_in_recognizes_librdkafkas_texts_of_rejected_commits() {
        for code in [
            Code::GroupAuthorizationFailed,
            Code::TopicAuthorizationFailed,
            Code::UnknownMemberId,
            Code::IllegalGeneration,
            Code::InvalidGroupId,
        ] {
            assert!(remedy(code).is_some());
            assert_eq!(remedy_in(&code.to_string()), remedy(code), "{code}");
        }
        assert_eq!(remedy_in("Broker: Unknown topic or partition"), None);
    }
}
