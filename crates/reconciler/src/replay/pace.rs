use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// What was not used is caught up with for this long, so that the timer's grain of a millisecond costs no speed.
const BURST: Duration = Duration::from_millis(50);

/// Lets so many a second go.
pub(super) struct Pace {
    /// Between two; zero for no limit.
    interval: Duration,
    next: Instant,
}

impl Pace {
    pub(super) fn new(per_second: Option<u32>) -> Self {
        let interval = per_second.map_or(Duration::ZERO, |rows| Duration::from_secs(1) / rows.max(1));
        Pace { interval, next: Instant::now() }
    }

    /// Waits for the next one's turn.
    pub(super) async fn turn(&mut self) {
        if self.interval.is_zero() {
            return;
        }
        let now = Instant::now();
        if self.next > now {
            sleep_until(self.next).await;
        }
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        self.next = self.next.max(earliest) + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn take(pace: &mut Pace, turns: u32) -> Duration {
        let began = Instant::now();
        for _ in 0..turns {
            pace.turn().await;
        }
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_a_second_go_and_no_more_after_a_pause() {
        for rate in [1, 7, 500, 20_000] {
            let mut pace = Pace::new(Some(rate));
            let took = take(&mut pace, rate * 3).await;
            assert!((2.0..3.1).contains(&took.as_secs_f64()), "{rate}: {took:?}");
            tokio::time::sleep(Duration::from_secs(60)).await;
            let took = take(&mut pace, rate * 3).await;
            assert!((1.9..3.1).contains(&took.as_secs_f64()), "{rate} after a pause: {took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nobody_waits() {
        assert_eq!(take(&mut Pace::new(None), 100_000).await, Duration::ZERO);
    }
}
