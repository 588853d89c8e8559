//! Waiting for a condition.

use std::thread;
use std::time::{Duration, Instant};

/// Generous, so that a machine under load fails no test.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until `condition` returns a value and returns it.
///
/// # Panics
///
/// If it does not within [`DEADLINE`].
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// Waits until `condition` holds.
///
/// # Panics
///
/// If it does not within [`DEADLINE`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    eventually(what, || condition().then_some(()));
}
