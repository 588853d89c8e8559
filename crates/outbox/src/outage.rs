//! When an outage and its end are logged.

use std::time::{Duration, Instant};

/// A lasting outage is logged again after this time, so that the end of the log names it.
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Decides which of the failures of an outage are logged: the first, each new reason, and one every 30 s.
#[derive(Clone, Debug, Default)]
pub struct OutageLog {
    outage: Option<Outage>,
}

#[derive(Clone, Debug)]
struct Outage {
    since: Instant,
    reason: String,
    logged_at: Instant,
}

impl OutageLog {
    /// An attempt failed. Returns whether to log it.
    pub fn failed(&mut self, reason: &str, now: Instant) -> bool {
        let Some(outage) = &mut self.outage else {
            self.outage = Some(Outage { since: now, reason: reason.to_owned(), logged_at: now });
            return true;
        };
        if outage.reason == reason && now.duration_since(outage.logged_at) < LOG_AGAIN_AFTER {
            return false;
        }
        reason.clone_into(&mut outage.reason);
        outage.logged_at = now;
        true
    }

    /// An attempt succeeded. Returns how long the outage lasted, if there was one.
    pub fn recovered(&mut self, now: Instant) -> Option<Duration> {
        self.outage.take().map(|outage| now.duration_since(outage.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outage_log_logs_the_first_failure_each_new_reason_and_a_lasting_one() {
        let mut log = OutageLog::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(log.recovered(at(0)), None);
        assert!(log.failed("refused", at(1)));
        assert!(!log.failed("refused", at(2)));
        assert!(log.failed("timed out", at(3)));
        assert!(!log.failed("timed out", at(32)));
        assert!(log.failed("timed out", at(33)));
        assert_eq!(log.recovered(at(41)), Some(Duration::from_secs(40)));
        assert!(log.failed("refused", at(42)), "a new outage");
    }
}
