//! `[retention]`: which rows are deleted.

use std::time::Duration;

use crate::config::keys;
use crate::config::settings::values::Settings;

/// The section `[retention]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionConfig {
    /// How long a COMPLETE row is kept; `None` keeps all rows.
    pub complete_after: Option<Duration>,
}

/// Reads the section.
pub(crate) fn read(settings: &mut Settings) -> Option<RetentionConfig> {
    settings.optional(&keys::COMPLETE_AFTER).map(|complete_after| RetentionConfig { complete_after })
}
