//! Reports that nothing in flight makes progress although no component reports an error.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

/// Outages of Kafka and PostgreSQL are logged sooner, by the components that meet them.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// A lock on an outbox row or a partition below `min.insync.replicas` stalls the relay without an error.
pub(super) struct StallDetector {
    last_progress: Instant,
    is_logged: bool,
}

/// How much is in flight, by stage.
pub(super) struct Backlog {
    pub(super) in_flight: usize,
    pub(super) unacknowledged: usize,
    pub(super) unwritten: usize,
}

impl Default for StallDetector {
    fn default() -> Self {
        StallDetector { last_progress: Instant::now(), is_logged: false }
    }
}

impl StallDetector {
    /// At least one event was acknowledged, written back or looked up.
    pub(super) fn progress(&mut self) {
        if self.is_logged {
            info!(stalled_s = self.last_progress.elapsed().as_secs(), "progress resumed");
        }
        *self = StallDetector::default();
    }

    /// Logs a stall once. `backlog` is what is in flight now.
    pub(super) fn check(&mut self, backlog: &Backlog) {
        if backlog.in_flight == 0 {
            *self = StallDetector::default();
        }
        if self.last_progress.elapsed() < STALLED_AFTER || self.is_logged {
            return;
        }
        self.is_logged = true;
        warn!(
            in_flight = backlog.in_flight,
            unacknowledged = backlog.unacknowledged,
            unwritten = backlog.unwritten,
            stalled_s = STALLED_AFTER.as_secs(),
            "no event in flight makes progress; waiting. Unacknowledged events: check Kafka (min.insync.replicas); \
             unwritten events: check for locks on the outbox table (pg_locks)"
        );
    }
}
