//! Evidence from Kafka for the reconciler.

use std::sync::Arc;

use kafka_sink::{InspectError, KafkaInspector};
use outbox::RecordPosition;
use outbox::{LogBounds, RecordAtOffset};
use reconciler::EvidenceUnavailable;

use crate::config::Config;

/// Log bounds, records, and committed offsets of the consumer groups.
pub(crate) struct BrokerEvidence {
    inspector: KafkaInspector,
    /// The followed groups; the receipts group if none is followed.
    groups: Vec<String>,
}

impl BrokerEvidence {
    pub(crate) fn new(config: &Config) -> Self {
        let own = || vec![config.receipts.group.clone()];
        let follow = &config.receipts.follow;
        BrokerEvidence {
            inspector: KafkaInspector::new(&config.kafka.client),
            groups: if follow.is_empty() { own() } else { follow.clone() },
        }
    }
}

fn unavailable(error: InspectError) -> EvidenceUnavailable {
    EvidenceUnavailable(error.to_string())
}

impl reconciler::KafkaEvidence for BrokerEvidence {
    async fn bounds(&self, topic: &str, partition: i32) -> Result<Option<LogBounds>, EvidenceUnavailable> {
        self.inspector.log_bounds(topic, partition).await.map_err(unavailable)
    }

    /// The lowest committed offset of the groups; 0 for a group without one.
    async fn committed(&self, partitions: &[(String, i32)]) -> Result<Vec<i64>, EvidenceUnavailable> {
        let partitions: Vec<(Arc<str>, i32)> =
            partitions.iter().map(|(topic, partition)| (Arc::from(topic.as_str()), *partition)).collect();
        let mut lowest = vec![i64::MAX; partitions.len()];
        for group in &self.groups {
            let committed = self.inspector.committed(group, &partitions).await.map_err(unavailable)?;
            for (lowest, committed) in lowest.iter_mut().zip(committed) {
                *lowest = (*lowest).min(committed.unwrap_or(0));
            }
        }
        Ok(lowest)
    }

    async fn record_at(&self, place: &RecordPosition) -> Result<RecordAtOffset, EvidenceUnavailable> {
        let RecordPosition { topic, partition, offset } = place;
        self.inspector.record_at(topic, *partition, *offset).await.map_err(unavailable)
    }
}
