//! Everything that talks to Kafka, and the task that writes the outcome to the rows.
//!
//! [`Routing`] computes the topic and key of a row, [`client_config`] the settings of the clients, [`Sink`] publishes
//! records and returns delivery reports. [`WriteBack`] writes row updates, [`Receipts`] consumes the published records,
//! and [`KafkaInspector`] and [`PartitionReader`] read records and committed offsets.

mod config;
mod consume;
mod publish;
mod receipts;
mod record;
mod stop_on_drop;
mod write_back;

pub use config::properties::{PropertyProblem, client_config};
pub use consume::consumer::consumer_config;
pub use consume::inspect_error::InspectError;
pub use consume::inspector::KafkaInspector;
pub use consume::offset_content::OffsetContent;
pub use consume::partition_reader::PartitionReader;
pub use consume::read_error::ReadError;
pub use publish::delivery_report::{DeliveryError, DeliveryReport, PartitionOffset};
pub use publish::error::{PublishError, SinkError};
pub use publish::outage::Outage;
pub use publish::sink::Sink;
pub use receipts::Receipts;
pub use receipts::options::ReceiptsOptions;
pub use record::event_router::EventRouter;
pub use record::rejection::Rejection;
pub use record::routing::{Routing, RoutingError};
pub use write_back::receipt_chunk::{ChunkOutcome, ReceiptChunk};
pub use write_back::written::Written;
pub use write_back::{WriteBack, WriteBackError, WriteBackOptions};
