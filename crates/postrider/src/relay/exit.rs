//! Why a session ends, and draining before it does.

use std::time::Duration;

use anyhow::Error;
use tokio::time::Instant;
use tracing::warn;

/// Why the main loop stops.
pub(super) enum ExitReason {
    /// SIGTERM, SIGINT, or the end of the replay that the session is for.
    StopRequested,
    /// The WAL is another one, or another relay moved the slot: positions remembered by this session are void.
    LogChanged(String),
    /// An error that retrying does not fix.
    Failed(Error),
}

impl ExitReason {
    /// An error outranks a requested stop, and a requested stop outranks a changed log, which the next session
    /// handles by itself. Of two equal ones the first counts.
    fn is_outranked_by(&self, later: &ExitReason) -> bool {
        match (self, later) {
            (ExitReason::Failed(_), _) => false,
            (_, ExitReason::Failed(_)) => true,
            (ExitReason::LogChanged(_), later) => matches!(later, ExitReason::StopRequested),
            (ExitReason::StopRequested, _) => false,
        }
    }
}

/// The process ends within 10 s of SIGTERM; this leaves the rest for closing connections.
const DRAIN_MAX: Duration = Duration::from_secs(7);

/// The phase of the main loop.
pub(super) enum Phase {
    /// Events are read and published.
    Streaming,
    /// Nothing more is read or handed to the producer; what is in flight is completed until the deadline.
    Draining(Draining),
}

/// The end of a session under way.
pub(super) struct Draining {
    reason: ExitReason,
    deadline: Instant,
    later_errors: usize,
}

impl Phase {
    /// Starts to drain, or notes a further reason while draining.
    pub(super) fn drain(&mut self, reason: ExitReason) {
        self.drain_until(reason, Instant::now() + DRAIN_MAX);
    }

    /// Ends without waiting: the reports that draining would wait for do not come.
    pub(super) fn end_now(&mut self, error: Error) {
        self.drain_until(ExitReason::Failed(error), Instant::now());
    }

    fn drain_until(&mut self, reason: ExitReason, by: Instant) {
        match self {
            Phase::Streaming => {
                *self = Phase::Draining(Draining { reason, deadline: by, later_errors: 0 });
            }
            Phase::Draining(draining) => {
                draining.deadline = draining.deadline.min(by);
                if draining.reason.is_outranked_by(&reason) {
                    draining.reason = reason;
                } else if matches!(reason, ExitReason::Failed(_)) {
                    draining.later_errors += 1;
                }
            }
        }
    }

    pub(super) fn is_streaming(&self) -> bool {
        matches!(self, Phase::Streaming)
    }

    /// When draining ends at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Phase::Streaming => None,
            Phase::Draining(draining) => Some(draining.deadline),
        }
    }

    /// The reason to stop, once nothing is awaited any more or the deadline has passed.
    pub(super) fn finished(&mut self, unacknowledged: usize, unwritten: usize) -> Option<ExitReason> {
        let Phase::Draining(draining) = self else { return None };
        let is_drained = unacknowledged + unwritten == 0;
        if !is_drained && Instant::now() < draining.deadline {
            return None;
        }
        if !is_drained {
            warn!(
                unacknowledged,
                unwritten, "drain timed out; unfinished events are sent again at the next start"
            );
        }
        if draining.later_errors > 0 {
            warn!(errors = draining.later_errors, "further errors followed the first");
        }
        match std::mem::replace(self, Phase::Streaming) {
            Phase::Draining(draining) => Some(draining.reason),
            Phase::Streaming => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn exit_reason_prefers_errors_and_then_a_requested_stop() {
        let mut phase = Phase::Streaming;
        phase.drain(ExitReason::LogChanged("timeline 2".to_owned()));
        phase.drain(ExitReason::StopRequested);
        phase.drain(ExitReason::LogChanged("timeline 3".to_owned()));
        phase.drain(ExitReason::Failed(anyhow!("first")));
        phase.drain(ExitReason::Failed(anyhow!("second")));
        assert!(phase.finished(0, 1).is_none(), "a write-back is awaited");
        match phase.finished(0, 0) {
            Some(ExitReason::Failed(error)) => assert_eq!(error.to_string(), "first"),
            _ => panic!("the first error is the reason"),
        }
    }

    #[test]
    fn draining_ends_at_its_deadline_whatever_is_in_flight() {
        let mut phase = Phase::Streaming;
        phase.drain(ExitReason::StopRequested);
        phase.end_now(anyhow!("no reports come"));
        assert!(matches!(phase.finished(3, 4), Some(ExitReason::Failed(_))));
    }
}
