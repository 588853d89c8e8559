//! How records are consumed.

use std::fmt;

use outbox::Metrics;
use rdkafka::ClientConfig;

/// How records are consumed.
#[derive(Clone)]
pub struct ReceiptsOptions {
    /// The producer's configuration, for its connection settings.
    pub config: ClientConfig,
    /// The consumer group whose offsets are committed (`receipts.group`).
    pub group: String,
    /// The followed groups (`receipts.follow`): a record is consumed once each of them has committed an offset after it.
    /// If empty, once it was read.
    pub follow: Vec<String>,
    /// Counts receipts without effect and records without an id.
    pub metrics: Metrics,
}

impl fmt::Debug for ReceiptsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration contains secrets.
        let ReceiptsOptions { config: _, group, follow, metrics: _ } = self;
        let mut debug = f.debug_struct("ReceiptsOptions");
        debug.field("group", group).field("follow", follow).finish_non_exhaustive()
    }
}
