use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const SAY_EVERY: Duration = Duration::from_secs(10);

/// Counts what anybody can bring about as often as they like, so that it is said now and then only.
#[derive(Debug, Default)]
pub(super) struct Nuisance {
    count: AtomicU64,
    said: Mutex<Option<Said>>,
}

#[derive(Clone, Copy, Debug)]
struct Said {
    at: Instant,
    count: u64,
}

impl Nuisance {
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// One more. `Some` where it is time to say so: how many there were since the last time.
    pub(super) fn add(&self, now: Instant) -> Option<u64> {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *said;
        if before.is_some_and(|before| now.saturating_duration_since(before.at) < SAY_EVERY) {
            return None;
        }
        *said = Some(Said { at: now, count });
        Some(count - before.map_or(0, |before| before.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_at_once_and_then_no_more_often_than_every_so_often_with_how_many_there_were() {
        let (nuisance, start) = (Nuisance::default(), Instant::now());
        let add = |seconds| nuisance.add(start + Duration::from_secs(seconds));
        assert_eq!(
            [add(0), add(0), add(9), add(10), add(11), add(19), add(20)],
            [Some(1), None, None, Some(3), None, None, Some(3)]
        );
        assert_eq!(nuisance.count(), 7);
    }
}
