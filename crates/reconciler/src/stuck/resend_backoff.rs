//! When a row whose record was lost is sent again.

use std::time::Duration;

use uuid::Uuid;

use crate::splitmix::splitmix64;

const PAUSE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Exponential backoff between the sends of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResendBackoff {
    /// The pause after the first send. It doubles with each, up to a day.
    pub(super) min: Duration,
    /// How often a row is sent at most; `None` for no limit.
    pub(super) attempts_max: Option<u32>,
}

/// When a row is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResendTime {
    Now,
    After(Duration),
    /// It was sent `attempts_max` times.
    Never,
}

impl ResendBackoff {
    /// For a row that was sent `attempts` times, the last time `ago` by the database's clock (`None` if unknown).
    ///
    /// The jitter takes off up to a quarter of the pause and depends on the id only, so that rows that were lost
    /// together are not all sent at once.
    pub(super) fn next(&self, id: Uuid, attempts: u32, ago: Option<Duration>) -> ResendTime {
        if self.attempts_max.is_some_and(|attempts_max| attempts >= attempts_max) {
            return ResendTime::Never;
        }
        let Some(ago) = ago.filter(|_| attempts > 0) else { return ResendTime::Now };
        let pause = self.pause(id, attempts);
        if ago >= pause { ResendTime::Now } else { ResendTime::After(pause - ago) }
    }

    fn pause(&self, id: Uuid, attempts: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        let longest = self.min.checked_mul(doubled).unwrap_or(PAUSE_MAX).min(PAUSE_MAX.max(self.min));
        let (high, low) = id.as_u64_pair();
        let part = splitmix64(high ^ low) % 1024;
        longest - (longest / 4 / 1024) * u32::try_from(part).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIN: Duration = Duration::from_secs(300);

    proptest! {
        #[test]
        fn pause_doubles_up_to_a_day_with_a_jitter_per_row(id in any::<u128>(), attempts in 1_u32..80) {
            let backoff = ResendBackoff { min: MIN, attempts_max: None };
            let id = Uuid::from_u128(id);
            let pause = backoff.pause(id, attempts);
            let whole = MIN.checked_mul(2_u32.saturating_pow(attempts - 1)).map_or(PAUSE_MAX, |p| p.min(PAUSE_MAX));
            prop_assert!(pause <= whole && pause >= whole * 3 / 4, "{:?} of {:?}", pause, whole);
            prop_assert!(backoff.pause(id, attempts + 1) >= pause);
            prop_assert_eq!(backoff.next(id, attempts, Some(pause)), ResendTime::Now);
            let second = Duration::from_secs(1);
            prop_assert_eq!(backoff.next(id, attempts, Some(pause - second)), ResendTime::After(second));
        }
    }

    #[test]
    fn next_is_now_after_the_first_deadline() {
        let backoff = ResendBackoff { min: MIN, attempts_max: Some(3) };
        let id = Uuid::from_u128(5);
        assert_eq!(backoff.next(id, 1, Some(MIN)), ResendTime::Now);
        assert_eq!(backoff.next(id, 0, None), ResendTime::Now);
        assert_eq!(backoff.next(id, 2, None), ResendTime::Now);
    }

    #[test]
    fn next_is_never_after_attempts_max_sends() {
        let backoff = ResendBackoff { min: MIN, attempts_max: Some(3) };
        let id = Uuid::from_u128(5);
        assert!(matches!(backoff.next(id, 2, Some(Duration::ZERO)), ResendTime::After(_)));
        assert_eq!(backoff.next(id, 3, Some(Duration::ZERO)), ResendTime::Never);
        assert_eq!(backoff.next(id, 4, None), ResendTime::Never);
    }
}
