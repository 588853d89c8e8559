//! How long to wait before the database is tried again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

// A restart takes PostgreSQL a second or two, hence the first waits; the cap keeps the time after an outage in
// which nothing happens short, and its attempts cost next to nothing.
const FIRST: Duration = Duration::from_millis(100);
const CAP: Duration = Duration::from_secs(5);

/// The waits of an outage: none before the first attempt, then growing, jittered, capped.
#[derive(Debug, Default)]
pub(super) struct Retry {
    waits: Option<ExponentialBackoff>,
}

impl Retry {
    pub(super) fn next(&mut self) -> Duration {
        let Some(waits) = &mut self.waits else {
            let growing = ExponentialBuilder::new().with_min_delay(FIRST).with_max_delay(CAP);
            self.waits = Some(growing.without_max_times().with_jitter().build());
            return Duration::ZERO;
        };
        // The jitter adds up to the wait itself, on top of the cap.
        waits.next().unwrap_or(CAP).min(2 * CAP)
    }

    pub(super) fn succeeded(&mut self) {
        self.waits = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_is_at_once_and_no_wait_passes_twice_the_cap() {
        let mut retry = Retry::default();
        assert_eq!(retry.next(), Duration::ZERO);
        for _ in 0..100 {
            let wait = retry.next();
            assert!(wait >= FIRST && wait <= 2 * CAP, "{wait:?}");
        }
        retry.succeeded();
        assert_eq!(retry.next(), Duration::ZERO);
    }
}
