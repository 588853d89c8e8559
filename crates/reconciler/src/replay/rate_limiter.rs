use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How far the limiter catches up after a pause. Without it the timer's resolution of 1 ms would lower the rate.
const BURST_MAX: Duration = Duration::from_millis(50);

/// Limits the rows per second of a replay.
pub(super) struct RateLimiter {
    /// Between two rows; zero for no limit.
    interval: Duration,
    next: Instant,
}

impl RateLimiter {
    pub(super) fn new(rows_per_second: Option<u32>) -> Self {
        let interval = rows_per_second.map_or(Duration::ZERO, |rows| Duration::from_secs(1) / rows.max(1));
        RateLimiter { interval, next: Instant::now() }
    }

    /// Waits until the next row may be sent.
    pub(super) async fn wait(&mut self) {
        if self.interval.is_zero() {
            return;
        }
        let now = Instant::now();
        if self.next > now {
            sleep_until(self.next).await;
        }
        let earliest = now.checked_sub(BURST_MAX).unwrap_or(now);
        self.next = self.next.max(earliest) + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn duration_of(limiter: &mut RateLimiter, rows: u32) -> Duration {
        let start = Instant::now();
        for _ in 0..rows {
            limiter.wait().await;
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn rate_limiter_keeps_the_rate_and_does_not_exceed_it_after_a_pause() {
        for rate in [1, 7, 500, 20_000] {
            let mut limiter = RateLimiter::new(Some(rate));
            let elapsed = duration_of(&mut limiter, rate * 3).await;
            assert!((2.0..3.1).contains(&elapsed.as_secs_f64()), "{rate}: {elapsed:?}");
            tokio::time::sleep(Duration::from_secs(60)).await;
            let elapsed = duration_of(&mut limiter, rate * 3).await;
            assert!((1.9..3.1).contains(&elapsed.as_secs_f64()), "{rate} after a pause: {elapsed:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rate_limiter_without_a_rate_never_waits() {
        assert_eq!(duration_of(&mut RateLimiter::new(None), 100_000).await, Duration::ZERO);
    }
}
