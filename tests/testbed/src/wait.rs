use std::time::{Duration, Instant};

/// How long a server may take to start or stop; generous, because the machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

const PAUSE: Duration = Duration::from_millis(20);

/// Polls `look` until it returns a value; `None` once the deadline has passed.
pub(crate) fn until<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let found @ Some(_) = look() {
            return found;
        }
        if Instant::now() >= end {
            return None;
        }
        #[expect(clippy::disallowed_methods, reason = "the pause between two looks at a condition")]
        std::thread::sleep(PAUSE);
    }
}
