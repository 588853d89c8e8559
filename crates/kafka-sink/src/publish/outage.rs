//! Whether Kafka can be reached, and when to say what about it.

use std::fmt;
use std::time::{Duration, Instant};

/// Kafka as a whole cannot be reached: no broker answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Since when.
    pub since: Instant,
    /// What the last attempt met, in librdkafka's words.
    pub reason: String,
}

/// A line for the log: each change of state once, and a state that lasts every half minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    Away { reason: String },
    StillAway { reason: String, lasted: Duration },
    Back { lasted: Duration },
    BrokerAway { reason: String },
}

/// How long one state stays unsaid once it has been said.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// An outbox that is quiet during an outage learns of its end within this time.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// A single broker's loss is said when it has not turned out to be that of all.
const SINGLE_AFTER: Duration = Duration::from_secs(3);

/// What librdkafka's errors and the answers of brokers say about Kafka as a whole.
///
/// librdkafka tells that all brokers are down, but also when an idle connection of the only broker was
/// closed, and it never tells that one is back. So its word is a suspicion, and asking a broker settles it.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    state: State,
    reason: Option<String>,
    broker_lost: Option<Instant>,
    broker_said: Option<Instant>,
    disturbed: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Reachable,
    Suspected {
        since: Instant,
    },
    Away {
        since: Instant,
        said: Instant,
        ask: Instant,
    },
}

impl Watch {
    /// A connection failed, or an attempt to make one.
    pub(crate) fn broker_failed(&mut self, reason: &str, now: Instant) {
        self.reason = Some(without_circumstances(reason).to_owned());
        self.broker_lost.get_or_insert(now);
    }

    /// No broker is connected.
    pub(crate) fn all_failed(&mut self, reason: &str, now: Instant) {
        self.disturbed = true;
        self.reason.get_or_insert_with(|| reason.to_owned());
        if let State::Reachable = self.state {
            self.state = State::Suspected { since: now };
        }
    }

    /// Whether a broker is to be asked now.
    pub(crate) fn is_to_ask(&self, now: Instant) -> bool {
        match self.state {
            State::Reachable => false,
            State::Suspected { .. } => true,
            State::Away { ask, .. } => now >= ask,
        }
    }

    /// No broker answered when asked.
    pub(crate) fn unanswered(&mut self, now: Instant) -> Option<Say> {
        match &mut self.state {
            State::Reachable => None,
            State::Suspected { since } => {
                self.state = State::Away { since: *since, said: now, ask: now + ASK_EVERY };
                Some(Say::Away { reason: self.reason() })
            }
            State::Away { since, said, ask } => {
                *ask = now + ASK_EVERY;
                if now.duration_since(*said) < SAY_AGAIN_AFTER {
                    return None;
                }
                *said = now;
                let lasted = now.duration_since(*since);
                Some(Say::StillAway { reason: self.reason(), lasted })
            }
        }
    }

    /// A broker answered, or acknowledged a record.
    pub(crate) fn answered(&mut self, now: Instant) -> Option<Say> {
        let state = std::mem::take(&mut self.state);
        if let State::Reachable = state {
            return None;
        }
        self.reason = None;
        self.broker_lost = None;
        match state {
            State::Away { since, .. } => Some(Say::Back { lasted: now.duration_since(since) }),
            State::Reachable | State::Suspected { .. } => None,
        }
    }

    /// What the time that has passed makes worth saying.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<Say> {
        let lost = self.broker_lost?;
        if !matches!(self.state, State::Reachable) || now.duration_since(lost) < SINGLE_AFTER {
            return None;
        }
        self.broker_lost = None;
        if self.broker_said.is_some_and(|said| now.duration_since(said) < SAY_AGAIN_AFTER) {
            return None;
        }
        self.broker_said = Some(now);
        Some(Say::BrokerAway { reason: self.reason() })
    }

    /// Whether neither time nor an acknowledgement would change anything.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self.state, State::Reachable) && self.broker_lost.is_none()
    }

    /// The outage there is.
    pub(crate) fn outage(&self) -> Option<Outage> {
        match self.state {
            State::Away { since, .. } => Some(Outage { since, reason: self.reason() }),
            State::Reachable | State::Suspected { .. } => None,
        }
    }

    /// Whether all brokers were away at some time.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.disturbed
    }

    fn reason(&self) -> String {
        self.reason.clone().unwrap_or_else(|| "no broker answers".to_owned())
    }
}

/// librdkafka's reason without how long it took and how often it was met, which differ from line to line.
fn without_circumstances(reason: &str) -> &str {
    reason.rfind(" (after ").map_or(reason, |end| &reason[..end])
}

impl fmt::Display for Say {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Say::Away { reason } => write!(f, "Kafka cannot be reached ({reason}); waiting"),
            Say::StillAway { reason, lasted } => {
                write!(f, "Kafka cannot be reached for {} s ({reason}); waiting", lasted.as_secs())
            }
            Say::Back { lasted } => write!(f, "Kafka is back after {} s", lasted.as_secs()),
            Say::BrokerAway { reason } => {
                write!(f, "a connection to one of Kafka's brokers was lost ({reason}); others answer")
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
    fn an_outage_is_said_once_then_every_half_minute_and_its_end_once() {
        let start = Instant::now();
        let mut watch = Watch::default();
        let mut said = Vec::new();
        watch.broker_failed("kafka:9092/bootstrap: Connection refused (after 0ms in state CONNECT)", start);
        watch.all_failed("1/1 brokers are down", start);
        for now in (1..=70).map(|n| second(start, n)) {
            said.extend(watch.tick(now));
            if watch.is_to_ask(now) {
                said.extend(watch.unanswered(now));
            }
        }
        said.extend(watch.answered(second(start, 71)));
        said.extend(watch.answered(second(start, 72)));
        let said: Vec<_> = said.iter().map(Say::to_string).collect();
        assert_eq!(
            said,
            [
                "Kafka cannot be reached (kafka:9092/bootstrap: Connection refused); waiting",
                "Kafka cannot be reached for 31 s (kafka:9092/bootstrap: Connection refused); waiting",
                "Kafka cannot be reached for 61 s (kafka:9092/bootstrap: Connection refused); waiting",
                "Kafka is back after 71 s",
            ]
        );
    }

    #[test]
    fn an_idle_connection_closed_is_no_outage() {
        let start = Instant::now();
        let mut watch = Watch::default();
        watch.all_failed("1/1 brokers are down", start);
        assert!(watch.is_to_ask(start));
        assert_eq!(watch.outage(), None);
        assert_eq!(watch.answered(second(start, 1)), None);
        assert_eq!(watch.tick(second(start, 60)), None);
        assert!(watch.is_disturbed());
    }

    #[test]
    fn an_outage_is_known_with_its_start_and_reason_until_a_broker_answers() {
        let start = Instant::now();
        let mut watch = Watch::default();
        watch.all_failed("1/1 brokers are down", start);
        watch.broker_failed("kafka:9092: Connection refused", second(start, 1));
        watch.unanswered(second(start, 2));
        let reason = "kafka:9092: Connection refused".to_owned();
        assert_eq!(watch.outage(), Some(Outage { since: start, reason }));
        watch.answered(second(start, 3));
        assert_eq!(watch.outage(), None);
    }

    #[test]
    fn one_lost_broker_of_several_is_said_at_most_every_half_minute() {
        let start = Instant::now();
        let mut watch = Watch::default();
        let mut said = 0;
        for now in (0..=60).map(|n| second(start, n)) {
            watch.broker_failed("kafka2:9092: Connection refused", now);
            said += usize::from(watch.tick(now).is_some());
        }
        assert_eq!(said, 2);
        assert_eq!(watch.outage(), None);
        assert!(!watch.is_disturbed());
    }
}
