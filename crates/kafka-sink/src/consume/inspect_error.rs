//! Why Kafka did not tell.

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

/// Why Kafka did not tell what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct LookError(#[from] LookErrorKind);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LookErrorKind {
    #[error("Kafka could not be asked for {what} ({reason})")]
    Unanswered { what: String, reason: String },
    #[error("Kafka does not tell {what}: {code}; {remedy}")]
    Denied { what: String, code: Code, remedy: &'static str },
    #[error("a Kafka consumer cannot be made: {0}; see [kafka] in the configuration")]
    NotMade(String),
    #[error("the thread that asks Kafka has ended; this is a bug in Postrider, please report it")]
    Gone,
}

impl LookError {
    /// Whether the answer can be expected later without anybody's doing. It says nothing about what was asked
    /// for.
    pub fn is_transient(&self) -> bool {
        matches!(&self.0, LookErrorKind::Unanswered { .. })
    }

    /// What `code` means to whoever asked for `what`.
    pub(crate) fn of_code(what: impl Into<String>, code: Code) -> Self {
        let what = what.into();
        match remedy(code) {
            Some(remedy) => LookErrorKind::Denied { what, code, remedy }.into(),
            None => LookErrorKind::Unanswered { what, reason: code.to_string() }.into(),
        }
    }

    pub(crate) fn of(what: impl Into<String>, error: &KafkaError) -> Self {
        match error.rdkafka_error_code() {
            Some(code) => LookError::of_code(what, code),
            None => LookErrorKind::Unanswered { what: what.into(), reason: error.to_string() }.into(),
        }
    }

    pub(crate) fn not_made(error: &KafkaError) -> Self {
        LookErrorKind::NotMade(error.to_string()).into()
    }
}

/// What a person has to do about an answer; `None` where time does.
pub(crate) fn remedy(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::GroupAuthorizationFailed => "give Postrider's Kafka user the right to Read the group",
        Code::TopicAuthorizationFailed => "give Postrider's Kafka user the right to Read the topic",
        Code::ClusterAuthorizationFailed => "give Postrider's Kafka user the right to Describe the cluster",
        Code::UnknownMemberId | Code::IllegalGeneration => {
            "others have joined the group; give receipts.group a name that nobody else uses"
        }
        Code::InvalidGroupId => "the brokers take no group of this name; see [receipts] in the configuration",
        _ => return None,
    })
}

/// The remedy for a commit that librdkafka's own words say was refused.
pub(crate) fn remedy_in(words: &str) -> Option<&'static str> {
    const CODES: [(&str, Code); 5] = [
        ("Group authorization failed", Code::GroupAuthorizationFailed),
        ("Topic authorization failed", Code::TopicAuthorizationFailed),
        ("Unknown member", Code::UnknownMemberId),
        ("generation id is not valid", Code::IllegalGeneration),
        ("Invalid group.id", Code::InvalidGroupId),
    ];
    let code = CODES.iter().find(|(said, _)| words.contains(said));
    code.and_then(|(_, code)| remedy(*code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_must_mend_says_how_and_the_rest_is_waited_for() {
        let denied = LookError::of_code("the offsets of group billing", Code::GroupAuthorizationFailed);
        assert!(!denied.is_transient());
        assert!(denied.to_string().contains("group billing"), "{denied}");
        assert!(denied.to_string().contains("the right to Read the group"), "{denied}");
        for code in [Code::OperationTimedOut, Code::LeaderNotAvailable, Code::Authentication, Code::Unknown] {
            assert!(LookError::of_code("it", code).is_transient(), "{code}");
        }
    }

    #[test]
    fn librdkafkas_words_for_refused_commits_are_known() {
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
