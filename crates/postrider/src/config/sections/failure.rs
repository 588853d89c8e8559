//! `[failure]`: what happens to a row that cannot be published.

use crate::config::keys;
use crate::config::settings::values::Settings;

/// The section `[failure]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureConfig {
    /// What an unpublishable row means for other rows.
    pub policy: Policy,
    /// The topic that also receives FAILED rows, with the reason in headers.
    pub dead_letter_topic: Option<String>,
}

/// What an unpublishable row means for other rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Only this row is skipped.
    Park,
    /// Later rows with the same key wait.
    Hold,
    /// The relay stops.
    Stop,
}

/// Reads the section.
pub(crate) fn read(settings: &mut Settings) -> Option<FailureConfig> {
    let policy = settings.value(&keys::FAILURE_POLICY);
    let dead_letter_topic = settings.optional(&keys::DEAD_LETTER_TOPIC);
    let policy = match policy?.as_str() {
        "hold" => Policy::Hold,
        "stop" => Policy::Stop,
        _ => Policy::Park,
    };
    Some(FailureConfig { policy, dead_letter_topic: dead_letter_topic? })
}
