//! Waiting for a condition.

use std::thread;
use std::time::{Duration, Instant};

/// Generous: a machine under load is slow, and a test that fails for it tells nothing.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until `condition` gives a value.
///
/// # Panics
///
/// When it has not within [`DEADLINE`].
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain until {what}");
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// Waits until `condition` holds.
///
/// # Panics
///
/// When it does not within [`DEADLINE`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    eventually(what, || condition().then_some(()));
}
