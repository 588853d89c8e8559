//! `[receipts]`: how rows become COMPLETE.

use crate::config::keys;
use crate::config::settings::values::Settings;

/// The section `[receipts]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptsConfig {
    /// Whether rows become COMPLETE at all.
    pub enabled: bool,
    /// Postrider's consumer group.
    pub group: String,
    /// The business groups that must all have consumed a record before its row is COMPLETE; sorted, without
    /// duplicates. With none, a record read by `group` completes its row.
    pub follow: Vec<String>,
}

/// Reads the section.
pub(crate) fn read(settings: &mut Settings) -> Option<ReceiptsConfig> {
    let enabled = settings.value(&keys::RECEIPTS_ENABLED);
    let group = settings.value(&keys::RECEIPTS_GROUP);
    let follow = settings.value(&keys::RECEIPTS_FOLLOW);
    let (group, mut follow) = (group?, follow?);
    if follow.contains(&group) {
        let message = format!("{group:?} is Postrider's own group (receipts.group) and cannot be followed");
        settings.reject(keys::RECEIPTS_FOLLOW.name, message);
    }
    follow.sort();
    follow.dedup();
    Some(ReceiptsConfig { enabled: enabled?, group, follow })
}
