//! The times of the orders.

use std::time::{Duration, Instant};

/// How much delay is caught up: enough for a late timer, too little for a burst after an outage.
const CATCH_UP: Duration = Duration::from_secs(1);

/// The rate and the limits of a workload; `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Orders per second.
    pub rate: Option<u32>,
    /// The workload ends after this time.
    pub open_for: Option<Duration>,
    /// The workload ends after this many orders.
    pub orders: Option<u64>,
}

/// Gives each order a number and a start time.
pub(crate) struct OrderSchedule {
    pace: Pace,
    opened_at: Instant,
    next_number: u64,
    next_at: Instant,
}

impl OrderSchedule {
    pub(crate) fn new(pace: Pace, now: Instant) -> OrderSchedule {
        OrderSchedule { pace, opened_at: now, next_number: 0, next_at: now }
    }

    /// The next order's number and start time, or `None` at the end of the workload.
    pub(crate) fn next(&mut self, now: Instant) -> Option<(u64, Instant)> {
        let behind_max = now.checked_sub(CATCH_UP).unwrap_or(now);
        let at = match self.pace.rate {
            None => now,
            Some(_) => self.next_at.max(behind_max),
        };
        let closed = self.pace.open_for.is_some_and(|open_for| at.max(now) >= self.opened_at + open_for);
        if closed || self.pace.orders.is_some_and(|orders| self.next_number >= orders) {
            return None;
        }
        if let Some(rate) = self.pace.rate {
            self.next_at = at + Duration::from_secs(1) / rate.max(1);
        }
        let number = self.next_number;
        self.next_number += 1;
        Some((number, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn next_spaces_orders_by_the_rate_until_the_time_is_over() {
        let now = Instant::now();
        let pace = Pace { rate: Some(4), open_for: Some(SECOND), orders: None };
        let mut schedule = OrderSchedule::new(pace, now);
        let times = std::iter::from_fn(|| schedule.next(now)).map(|(_, at)| (at - now).as_millis());
        assert_eq!(times.collect::<Vec<_>>(), [0, 250, 500, 750]);
    }

    #[test]
    fn next_ends_after_the_number_of_orders() {
        let now = Instant::now();
        let mut schedule = OrderSchedule::new(Pace { orders: Some(3), ..Pace::default() }, now);
        let numbers = std::iter::from_fn(|| schedule.next(now)).map(|(number, _)| number);
        assert_eq!(numbers.collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn next_catches_up_at_most_one_second() {
        let now = Instant::now();
        let mut schedule = OrderSchedule::new(Pace { rate: Some(10), ..Pace::default() }, now);
        schedule.next(now);
        let later = now + 600 * SECOND;
        let due = std::iter::from_fn(|| schedule.next(later)).take_while(|(_, at)| *at <= later).count();
        assert_eq!(due, 11);
    }
}
