//! From an outbox row to a Kafka record, and from its delivery back to the row.
//!
//! [`Routing`] says where a row goes, [`client_config`] with what settings, [`Sink`] publishes it and reports
//! where the broker stored it. [`WriteBack`] writes that to the row, and whatever else becomes of it. [`Receipts`]
//! consumes what was published, and [`KafkaLooks`] tells what Kafka has of a record and how far consumer groups are.

mod consumer;
mod context;
mod failure;
#[cfg(test)]
mod fixture;
mod groups;
mod headers;
mod inbox;
mod look_error;
mod looker;
mod looks;
mod outage;
mod partition_reader;
mod producer;
mod properties;
mod property_rules;
mod quiet;
mod receipt;
mod receipts;
mod record_id;
mod refusal;
mod routing;
mod row_change;
mod sink;
mod template;
mod topics;
mod write_back;

pub use consumer::consumer_config;
pub use failure::{Failure, PublishError, Report, SinkError};
pub use look_error::LookError;
pub use looks::{Bounds, KafkaLooks, RecordAt};
pub use outage::Outage;
pub use partition_reader::{AtOffset, PartitionReader, ReadError};
pub use properties::{PropertyProblem, client_config};
pub use receipt::{Receipt, ReceiptChunk, Receipted};
pub use receipts::{ReceiptCounts, Receipts, ReceiptsOptions};
pub use refusal::Refusal;
pub use routing::{Routing, RoutingError};
pub use row_change::{Place, RowChange, What};
pub use sink::Sink;
pub use write_back::{WriteBack, WriteBackError, WriteBackOptions, Written};
