//! `[reconcile]`: when a row counts as stuck.

use std::time::Duration;

use crate::config::keys;
use crate::config::settings::values::Settings;

/// The section `[reconcile]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconcileConfig {
    /// The age from which an INIT row is stuck.
    pub init_after: Duration,
    /// The time since the last attempt from which a PUBLISH row is stuck.
    pub publish_after: Duration,
    /// The number of sends after which a row becomes FAILED; `None` for no limit.
    pub attempts_max: Option<u32>,
}

/// Reads the section.
pub(crate) fn read(settings: &mut Settings) -> Option<ReconcileConfig> {
    let init_after = settings.value(&keys::INIT_AFTER);
    let publish_after = settings.value(&keys::PUBLISH_AFTER);
    let attempts_max = settings.optional(&keys::ATTEMPTS_MAX);
    let saturated = |attempts: usize| u32::try_from(attempts).unwrap_or(u32::MAX);
    Some(ReconcileConfig {
        init_after: init_after?,
        publish_after: publish_after?,
        attempts_max: attempts_max?.map(saturated),
    })
}
