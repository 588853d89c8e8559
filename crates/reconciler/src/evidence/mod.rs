//! What Kafka holds of a PUBLISH row, and what follows from it.

pub(crate) mod judgement;
pub(crate) mod kafka_evidence;
pub(crate) mod probes;

pub use judgement::{Facts, Look, Verdict, Why, verdict};
pub use kafka_evidence::{Bounds, Broker, BrokerAway, RecordAt};
pub use probes::{Placed, infer, looks};
