//! How an outage of the database is waited out, and when it is told of.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// An outage that lasts is told of again, so that the last lines of the log name it.
pub(super) const TELL_AGAIN_AFTER: Duration = Duration::from_secs(30);

const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The pauses between attempts: growing, jittered, capped, without end.
pub(super) struct Pauses(ExponentialBackoff);

impl Pauses {
    pub(super) fn next(&mut self) -> Duration {
        self.0.next().unwrap_or(PAUSE_MAX)
    }
}

impl Default for Pauses {
    fn default() -> Self {
        let growing = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(PAUSE_MAX)
            .with_jitter()
            .without_max_times();
        Pauses(growing.build())
    }
}
