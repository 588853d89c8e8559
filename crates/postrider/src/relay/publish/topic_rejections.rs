//! Topics that reject every record of the relay.

use std::collections::HashMap;
use std::time::Duration;

use kafka_sink::Rejection;
use tokio::time::Instant;

/// How long a topic is skipped after it rejected us. Each attempt costs a producer restart; a grant or a topic that
/// an operator adds takes effect within this time.
const SKIPPED_FOR: Duration = Duration::from_secs(30);

/// The topics skipped now, so that one topic without permission costs one producer restart and not one per row.
#[derive(Default)]
pub(crate) struct TopicRejections {
    by_topic: HashMap<String, (Rejection, Instant)>,
}

impl TopicRejections {
    /// Notes the topic if the rejection concerns all of its records.
    pub(crate) fn observe(&mut self, rejection: &Rejection) {
        if let Some(topic) = rejection.whole_topic() {
            self.by_topic.insert(topic.to_owned(), (rejection.clone(), Instant::now() + SKIPPED_FOR));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_topic.is_empty()
    }

    /// Why the topic is skipped now, if it is.
    pub(crate) fn get(&mut self, topic: &str) -> Option<Rejection> {
        let now = Instant::now();
        self.by_topic.retain(|_, (_, until)| *until > now);
        self.by_topic.get(topic).map(|(rejection, _)| rejection.clone())
    }
}
