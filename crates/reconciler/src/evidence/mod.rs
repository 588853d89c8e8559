//! What Kafka holds of a PUBLISH row, and what follows from it.

pub(crate) mod judgement;
pub(crate) mod kafka_evidence;
pub(crate) mod probes;

pub use kafka_evidence::{EvidenceUnavailable, KafkaEvidence};
