//! Throttled log lines.

use std::time::{Duration, Instant};

/// Lets a log line through at most once per interval and counts the suppressed ones.
#[derive(Clone, Debug)]
pub struct LogThrottle {
    interval: Duration,
    logged_at: Option<Instant>,
    suppressed: u64,
}

impl LogThrottle {
    /// At most one line per `interval`.
    pub const fn new(interval: Duration) -> Self {
        LogThrottle { interval, logged_at: None, suppressed: 0 }
    }

    /// `Some` if the line may be logged now, with the number of lines suppressed since the last one.
    pub fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.logged_at.is_some_and(|logged_at| now.duration_since(logged_at) < self.interval) {
            self.suppressed += 1;
            return None;
        }
        self.logged_at = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_throttle_allows_one_line_per_interval_and_counts_the_rest() {
        let mut throttle = LogThrottle::new(Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(throttle.allow(at(0)), Some(0));
        assert_eq!((throttle.allow(at(1)), throttle.allow(at(9))), (None, None));
        assert_eq!(throttle.allow(at(10)), Some(2));
        assert_eq!(throttle.allow(at(20)), Some(0));
    }
}
