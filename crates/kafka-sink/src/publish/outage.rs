//! Whether Kafka is reachable, and when that is logged.

use std::time::{Duration, Instant};

use tracing::{info, warn};

/// A time without an answer from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The start.
    pub since: Instant,
    /// The error of the last attempt.
    pub reason: String,
}

/// A change of state, or an outage that lasts, to be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OutageNotice {
    Started { reason: String },
    Continues { reason: String, lasted: Duration },
    Ended { lasted: Duration },
    BrokerLost { reason: String },
}

/// After this time a lasting state is logged again.
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// During an outage a broker is probed at this interval, so that its end is noticed without records.
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// The loss of a single broker is logged after this time, unless all brokers are lost by then.
const BROKER_LOST_AFTER: Duration = Duration::from_secs(3);

/// Detects outages of Kafka from librdkafka's errors and the answers of brokers.
///
/// librdkafka reports that all brokers are down, but also when an idle connection to the only broker was closed, and it
/// never reports that one is up again. So its report is a suspicion, which a metadata request confirms or clears.
#[derive(Debug, Default)]
pub(crate) struct OutageDetector {
    state: Reachability,
    reason: Option<String>,
    broker_lost: Option<Instant>,
    broker_logged: Option<Instant>,
    had_disconnect: bool,
}

#[derive(Debug, Default)]
enum Reachability {
    #[default]
    Reachable,
    Suspected {
        since: Instant,
    },
    Unreachable {
        since: Instant,
        logged: Instant,
        probe: Instant,
    },
}

impl OutageDetector {
    /// A connection, or an attempt to connect, failed.
    pub(crate) fn broker_failed(&mut self, reason: &str, now: Instant) {
        self.reason = Some(without_counts(reason).to_owned());
        self.broker_lost.get_or_insert(now);
    }

    /// No broker is connected.
    pub(crate) fn all_failed(&mut self, reason: &str, now: Instant) {
        self.had_disconnect = true;
        self.reason.get_or_insert_with(|| reason.to_owned());
        if let Reachability::Reachable = self.state {
            self.state = Reachability::Suspected { since: now };
        }
    }

    /// Whether a broker has to be probed now.
    pub(crate) fn needs_probe(&self, now: Instant) -> bool {
        match self.state {
            Reachability::Reachable => false,
            Reachability::Suspected { .. } => true,
            Reachability::Unreachable { probe, .. } => now >= probe,
        }
    }

    /// A probe was not answered.
    pub(crate) fn probe_failed(&mut self, now: Instant) -> Option<OutageNotice> {
        match &mut self.state {
            Reachability::Reachable => None,
            Reachability::Suspected { since } => {
                self.state =
                    Reachability::Unreachable { since: *since, logged: now, probe: now + PROBE_EVERY };
                Some(OutageNotice::Started { reason: self.reason() })
            }
            Reachability::Unreachable { since, logged, probe } => {
                *probe = now + PROBE_EVERY;
                if now.duration_since(*logged) < LOG_AGAIN_AFTER {
                    return None;
                }
                *logged = now;
                let lasted = now.duration_since(*since);
                Some(OutageNotice::Continues { reason: self.reason(), lasted })
            }
        }
    }

    /// A broker answered, or acknowledged a record.
    pub(crate) fn answered(&mut self, now: Instant) -> Option<OutageNotice> {
        let state = std::mem::take(&mut self.state);
        if let Reachability::Reachable = state {
            return None;
        }
        self.reason = None;
        self.broker_lost = None;
        match state {
            Reachability::Unreachable { since, .. } => {
                Some(OutageNotice::Ended { lasted: now.duration_since(since) })
            }
            Reachability::Reachable | Reachability::Suspected { .. } => None,
        }
    }

    /// What has to be logged because of the time that has passed.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<OutageNotice> {
        let lost = self.broker_lost?;
        if !matches!(self.state, Reachability::Reachable) || now.duration_since(lost) < BROKER_LOST_AFTER {
            return None;
        }
        self.broker_lost = None;
        if self.broker_logged.is_some_and(|logged| now.duration_since(logged) < LOG_AGAIN_AFTER) {
            return None;
        }
        self.broker_logged = Some(now);
        Some(OutageNotice::BrokerLost { reason: self.reason() })
    }

    /// Whether neither time nor an answer changes the state.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, Reachability::Reachable) && self.broker_lost.is_none()
    }

    /// The outage, if there is one.
    pub(crate) fn outage(&self) -> Option<Outage> {
        match self.state {
            Reachability::Unreachable { since, .. } => Some(Outage { since, reason: self.reason() }),
            Reachability::Reachable | Reachability::Suspected { .. } => None,
        }
    }

    /// Whether all brokers were lost at some time.
    pub(crate) fn had_disconnect(&self) -> bool {
        self.had_disconnect
    }

    fn reason(&self) -> String {
        self.reason.clone().unwrap_or_else(|| "no broker answers".to_owned())
    }
}

/// librdkafka's reason without its duration and count, which differ from line to line.
fn without_counts(reason: &str) -> &str {
    reason.rfind(" (after ").map_or(reason, |end| &reason[..end])
}

impl OutageNotice {
    pub(crate) fn log(self) {
        match self {
            OutageNotice::Started { reason } => {
                warn!(target: "kafka", reason, "Kafka cannot be reached; retrying");
            }
            OutageNotice::Continues { reason, lasted } => {
                warn!(target: "kafka", reason, outage_s = lasted.as_secs(), "Kafka cannot be reached; retrying");
            }
            OutageNotice::Ended { lasted } => {
                info!(target: "kafka", outage_s = lasted.as_secs(), "Kafka can be reached again");
            }
            OutageNotice::BrokerLost { reason } => {
                warn!(target: "kafka", reason, "connection to a broker lost; other brokers answer");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(start: Instant, second: u64) -> Instant {
        start + Duration::from_secs(second)
    }

    #[test]
    fn outage_is_logged_at_once_then_every_half_minute_and_at_its_end() {
        let start = Instant::now();
        let mut detector = OutageDetector::default();
        let mut notices = Vec::new();
        detector
            .broker_failed("kafka:9092/bootstrap: Connection refused (after 0ms in state CONNECT)", start);
        detector.all_failed("1/1 brokers are down", start);
        for now in (1..=70).map(|n| second(start, n)) {
            notices.extend(detector.tick(now));
            if detector.needs_probe(now) {
                notices.extend(detector.probe_failed(now));
            }
        }
        notices.extend(detector.answered(second(start, 71)));
        notices.extend(detector.answered(second(start, 72)));
        let reason = || "kafka:9092/bootstrap: Connection refused".to_owned();
        let seconds = Duration::from_secs;
        assert_eq!(
            notices,
            [
                OutageNotice::Started { reason: reason() },
                OutageNotice::Continues { reason: reason(), lasted: seconds(31) },
                OutageNotice::Continues { reason: reason(), lasted: seconds(61) },
                OutageNotice::Ended { lasted: seconds(71) },
            ]
        );
    }

    #[test]
    fn closed_idle_connection_is_no_outage() {
        let start = Instant::now();
        let mut detector = OutageDetector::default();
        detector.all_failed("1/1 brokers are down", start);
        assert!(detector.needs_probe(start));
        assert_eq!(detector.outage(), None);
        assert_eq!(detector.answered(second(start, 1)), None);
        assert_eq!(detector.tick(second(start, 60)), None);
        assert!(detector.had_disconnect());
    }

    #[test]
    fn outage_has_start_and_reason_until_a_broker_answers() {
        let start = Instant::now();
        let mut detector = OutageDetector::default();
        detector.all_failed("1/1 brokers are down", start);
        detector.broker_failed("kafka:9092: Connection refused", second(start, 1));
        detector.probe_failed(second(start, 2));
        let reason = "kafka:9092: Connection refused".to_owned();
        assert_eq!(detector.outage(), Some(Outage { since: start, reason }));
        detector.answered(second(start, 3));
        assert_eq!(detector.outage(), None);
    }

    #[test]
    fn lost_broker_is_logged_at_most_every_half_minute() {
        let start = Instant::now();
        let mut detector = OutageDetector::default();
        let mut logged = 0;
        for now in (0..=60).map(|n| second(start, n)) {
            detector.broker_failed("kafka2:9092: Connection refused", now);
            logged += usize::from(detector.tick(now).is_some());
        }
        assert_eq!(logged, 2);
        assert_eq!(detector.outage(), None);
        assert!(!detector.had_disconnect());
    }
}
