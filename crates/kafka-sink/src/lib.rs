//! From an outbox row to a Kafka record, and from its delivery back to the row.

mod published;

pub use published::{Place, Published};
