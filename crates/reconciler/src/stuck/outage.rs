//! Backoff and log lines while stuck rows cannot be checked.

use std::time::{Duration, Instant};

use outbox::OutageLog;
use outbox_store::Backoff;
use tracing::{error, info, warn};

use crate::stuck::round_error::RoundError;

// An error that is not retryable goes away only if an operator changes something.
const DEFINITE_PAUSE: Duration = Duration::from_secs(60);

/// The outage that keeps a round from finishing.
#[derive(Default)]
pub(super) struct RoundOutage {
    backoff: Backoff,
    log: OutageLog,
}

impl RoundOutage {
    /// Logs a failure and returns the pause before the next attempt.
    pub(super) fn failed(&mut self, error: &RoundError) -> Duration {
        let (service, reason) = match error {
            RoundError::Store(error) => ("PostgreSQL", error.to_string()),
            RoundError::Evidence(error) => ("Kafka", error.to_string()),
            RoundError::SessionClosed => return Duration::ZERO,
        };
        let is_logged = self.log.failed(&reason, Instant::now());
        if matches!(error, RoundError::Store(error) if !error.is_retryable()) {
            if is_logged {
                error!(error = reason, "could not check for stuck rows; retrying every minute");
            }
            self.backoff = Backoff::default();
            return DEFINITE_PAUSE;
        }
        if is_logged {
            warn!(service, error = reason, "could not check for stuck rows; retrying");
        }
        self.backoff.next_delay()
    }

    pub(super) fn recovered(&mut self) {
        if let Some(lasted) = self.log.recovered(Instant::now()) {
            info!(outage_s = lasted.as_secs(), "stuck-row check resumed");
        }
    }
}
