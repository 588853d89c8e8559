//! From an outbox row to a Kafka record, and from its delivery back to the row.
//!
//! [`Routing`] says where a row goes, [`client_config`] with what settings, [`Sink`] publishes it and reports
//! where the broker stored it. [`WriteBack`] writes that to the row, and whatever else becomes of it. [`Receipts`]
//! consumes what was published, and [`KafkaLooks`] tells what Kafka has of a record and how far consumer groups are.

mod config;
mod consume;
mod publish;
mod receipts;
mod record;
mod write_back;

pub use config::properties::{PropertyProblem, client_config};
pub use consume::consumer::consumer_config;
pub use consume::inspect_error::LookError;
pub use consume::inspector::{Bounds, KafkaLooks, RecordAt};
pub use consume::partition_reader::{AtOffset, PartitionReader, ReadError};
pub use publish::error::{Failure, PartitionOffset, PublishError, Report, SinkError};
pub use publish::outage::Outage;
pub use publish::sink::Sink;
pub use receipts::{ReceiptCounts, Receipts, ReceiptsOptions};
pub use record::event_router::EventRouter;
pub use record::rejection::Refusal;
pub use record::routing::{Routing, RoutingError};
pub use write_back::receipt_chunk::{ChunkOutcome, ReceiptChunk};
pub use write_back::written::Written;
pub use write_back::{WriteBack, WriteBackError, WriteBackOptions};
