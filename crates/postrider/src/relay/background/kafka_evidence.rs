//! What the reconciler asks Kafka.

use std::sync::Arc;

use kafka_sink::{KafkaLooks, LookError};
use outbox_store::StoredPlace;
use reconciler::{EvidenceUnavailable, FoundRecord, PartitionBounds};

use crate::config::Config;

/// The broker as evidence: bounds, records, and what was consumed by those who count.
pub(crate) struct Broker {
    looks: KafkaLooks,
    /// The followed groups, else our own.
    groups: Vec<String>,
}

impl Broker {
    pub(crate) fn new(config: &Config) -> Self {
        let own = || vec![config.receipts.group.clone()];
        let follow = &config.receipts.follow;
        Broker {
            looks: KafkaLooks::new(&config.kafka.client),
            groups: if follow.is_empty() { own() } else { follow.clone() },
        }
    }
}

fn away(error: LookError) -> EvidenceUnavailable {
    EvidenceUnavailable(error.to_string())
}

impl reconciler::KafkaEvidence for Broker {
    async fn bounds(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<Option<PartitionBounds>, EvidenceUnavailable> {
        let bounds = self.looks.partition(topic, partition).await.map_err(away)?;
        Ok(bounds.map(|bounds| PartitionBounds { start: bounds.start, end: bounds.end }))
    }

    /// The lowest of the groups; one that has committed nothing has consumed nothing.
    async fn committed(&self, partitions: &[(String, i32)]) -> Result<Vec<i64>, EvidenceUnavailable> {
        let partitions: Vec<(Arc<str>, i32)> =
            partitions.iter().map(|(topic, partition)| (Arc::from(topic.as_str()), *partition)).collect();
        let mut lowest = vec![i64::MAX; partitions.len()];
        for group in &self.groups {
            let committed = self.looks.committed(group, &partitions).await.map_err(away)?;
            for (lowest, committed) in lowest.iter_mut().zip(committed) {
                *lowest = (*lowest).min(committed.unwrap_or(0));
            }
        }
        Ok(lowest)
    }

    async fn record_at(&self, place: &StoredPlace) -> Result<FoundRecord, EvidenceUnavailable> {
        let StoredPlace { topic, partition, offset } = place;
        Ok(match self.looks.record_at(topic, *partition, *offset).await.map_err(away)? {
            kafka_sink::RecordAt::Row(id) => FoundRecord::Row(id),
            kafka_sink::RecordAt::Foreign => FoundRecord::Foreign,
            kafka_sink::RecordAt::Absent => FoundRecord::Absent,
        })
    }
}
