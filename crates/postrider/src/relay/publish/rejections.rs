//! What Kafka refused for good, known beyond the producer that learnt it.

use std::collections::HashMap;
use std::time::Duration;

use kafka_sink::Refusal;
use tokio::time::Instant;
use uuid::Uuid;

/// How long a verdict on a row counts. Its row is met again at once, by the next producer; one that is met much
/// later may have had its cause removed.
const ROW_COUNTS_FOR: Duration = Duration::from_secs(600);

/// How long nothing is sent to a topic that takes nothing of ours. Each try costs a producer; a right that was
/// granted meanwhile is noticed within this time.
const TOPIC_COUNTS_FOR: Duration = Duration::from_secs(30);

/// Which rows and topics Kafka refused. With a refusal the producer is of no use any more, so the row is met again
/// by the next one, which must not send it once more.
#[derive(Default)]
pub(crate) struct Verdicts {
    rows: HashMap<Uuid, (Verdict, Instant)>,
    topics: HashMap<String, (Refusal, Instant)>,
}

/// Why a row cannot be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// For the person who reads it on the row.
    pub(crate) reason: String,
    /// Whether it was sent.
    pub(crate) sent: bool,
    /// Whether a dead letter of it is of no use either.
    pub(crate) dead_letter_refused: bool,
}

impl Verdict {
    /// Of a row that was refused before it was sent.
    pub(crate) fn unsent(refusal: &Refusal) -> Self {
        Verdict { reason: refusal.to_string(), sent: false, dead_letter_refused: false }
    }
}

impl Verdicts {
    /// The broker refused the row's record, or its dead letter.
    pub(crate) fn refused(&mut self, id: Uuid, refusal: &Refusal, was_dead_letter: bool) {
        if let Some(topic) = refusal.whole_topic() {
            let until = Instant::now() + TOPIC_COUNTS_FOR;
            self.topics.insert(topic.to_owned(), (refusal.clone(), until));
        }
        let reason = match was_dead_letter {
            true => format!("it could not be published, and its dead letter was refused: {refusal}"),
            false => refusal.to_string(),
        };
        let verdict = Verdict { reason, sent: true, dead_letter_refused: was_dead_letter };
        self.rows.insert(id, (verdict, Instant::now() + ROW_COUNTS_FOR));
    }

    /// The verdict on a row, if there is one. It is spent with that.
    pub(crate) fn take(&mut self, id: Uuid) -> Option<Verdict> {
        if self.rows.is_empty() {
            return None;
        }
        let now = Instant::now();
        self.rows.retain(|_, (_, until)| *until > now);
        self.rows.remove(&id).map(|(verdict, _)| verdict)
    }

    /// Gives a verdict back that could not be carried out yet.
    pub(crate) fn keep(&mut self, id: Uuid, verdict: Verdict) {
        self.rows.insert(id, (verdict, Instant::now() + ROW_COUNTS_FOR));
    }

    /// Whether any topic takes nothing of ours now.
    pub(crate) fn has_topics(&self) -> bool {
        !self.topics.is_empty()
    }

    /// Why a topic takes nothing of ours now.
    pub(crate) fn of_topic(&mut self, topic: &str) -> Option<Refusal> {
        let now = Instant::now();
        self.topics.retain(|_, (_, until)| *until > now);
        self.topics.get(topic).map(|(refusal, _)| refusal.clone())
    }
}
