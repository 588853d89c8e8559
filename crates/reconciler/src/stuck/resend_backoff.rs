//! When a row that was sent in vain may be sent again.

use std::time::Duration;

use uuid::Uuid;

use crate::splitmix::splitmix64;

const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Growing pauses between the times a row is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first time. It doubles with each, up to a day.
    pub first: Duration,
    /// How often a row is sent at most; `None` for no limit.
    pub attempts_max: Option<u32>,
}

/// Whether a row may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resend {
    /// Now.
    Now,
    /// After this time.
    In(Duration),
    /// No more: it was sent as often as it may be.
    Never,
}

impl Backoff {
    /// What holds for the row of this id, which was sent `attempts` times, the last time `ago` by the database's
    /// clock; `None` where that is not known.
    ///
    /// Up to a quarter of the pause is taken off, always the same of one row, so that rows that were lost together
    /// are not all sent again at once.
    pub fn resend(&self, id: Uuid, attempts: u32, ago: Option<Duration>) -> Resend {
        if self.attempts_max.is_some_and(|most| attempts >= most) {
            return Resend::Never;
        }
        let Some(ago) = ago.filter(|_| attempts > 0) else { return Resend::Now };
        let pause = self.pause(id, attempts);
        if ago >= pause { Resend::Now } else { Resend::In(pause - ago) }
    }

    fn pause(&self, id: Uuid, attempts: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        let longest = self.first.checked_mul(doubled).unwrap_or(LONGEST).min(LONGEST.max(self.first));
        let (high, low) = id.as_u64_pair();
        let part = splitmix64(high ^ low) % 1024;
        longest - (longest / 4 / 1024) * u32::try_from(part).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIRST: Duration = Duration::from_secs(300);

    proptest! {
        #[test]
        fn pauses_grow_to_a_day_and_are_a_rows_own(id in any::<u128>(), attempts in 1_u32..80) {
            let backoff = Backoff { first: FIRST, attempts_max: None };
            let id = Uuid::from_u128(id);
            let pause = backoff.pause(id, attempts);
            let whole = FIRST.checked_mul(2_u32.saturating_pow(attempts - 1)).map_or(LONGEST, |p| p.min(LONGEST));
            prop_assert!(pause <= whole && pause >= whole * 3 / 4, "{:?} of {:?}", pause, whole);
            prop_assert!(backoff.pause(id, attempts + 1) >= pause);
            prop_assert_eq!(backoff.resend(id, attempts, Some(pause)), Resend::Now);
            let second = Duration::from_secs(1);
            prop_assert_eq!(backoff.resend(id, attempts, Some(pause - second)), Resend::In(second));
        }
    }

    #[test]
    fn a_row_whose_deadline_has_passed_once_is_sent_at_once() {
        let backoff = Backoff { first: FIRST, attempts_max: Some(3) };
        let id = Uuid::from_u128(5);
        assert_eq!(backoff.resend(id, 1, Some(FIRST)), Resend::Now);
        assert_eq!(backoff.resend(id, 0, None), Resend::Now);
        assert_eq!(backoff.resend(id, 2, None), Resend::Now);
    }

    #[test]
    fn a_row_is_given_up_when_it_was_sent_as_often_as_it_may_be() {
        let backoff = Backoff { first: FIRST, attempts_max: Some(3) };
        let id = Uuid::from_u128(5);
        assert!(matches!(backoff.resend(id, 2, Some(Duration::ZERO)), Resend::In(_)));
        assert_eq!(backoff.resend(id, 3, Some(Duration::ZERO)), Resend::Never);
        assert_eq!(backoff.resend(id, 4, None), Resend::Never);
    }
}
