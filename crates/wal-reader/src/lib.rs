//! A client for PostgreSQL's logical replication with the `pgoutput` plugin.
//!
//! [`connect`] opens a replication connection from a [`tokio_postgres::Config`],
//! [`ReplicationClient::start_replication`] turns it into a [`ReplicationStream`] of [`Frame`]s, a [`Decoder`]
//! decodes their contents into [`Change`]s, and a [`RowLayout`] reads an [`outbox::Event`] from an inserted row.
//! Rows are slices of the frame they arrived in: values are neither copied nor interpreted before the `RowLayout`.
//!
//! Three layers, each usable without the next: [`Framing`] and [`Decoder`] are pure functions of bytes, the stream
//! adds reading and writing, `connect` adds hosts, TLS and authentication. The caller reconnects;
//! [`Error::is_retryable`] is whether that can help.
//!
//! The protocol is described in the PostgreSQL documentation, "Streaming Replication Protocol" and "Logical
//! Streaming Replication Protocol", version 1 of the latter.

mod byte_reader;
mod decode_error;
mod pgoutput;
mod protocol;
mod row_layout;

pub use decode_error::DecodeError;
pub use pgoutput::change::{Change, OtherKind};
pub use pgoutput::decoder::Decoder;
pub use pgoutput::relation::{Column, Relation};
pub use pgoutput::tuple::{Tuple, Value};
pub use protocol::client::{ReplicationClient, StartReplication, SystemIdentity};
pub use protocol::connect::connect;
pub use protocol::error::Error;
pub use protocol::frame::Frame;
pub use protocol::framing::{BackendMessage, Framing};
pub use protocol::socket::Socket;
pub use protocol::status::StandbyStatus;
pub use protocol::stream::{Intake, ReplicationStream};
pub use row_layout::RowLayout;
pub use row_layout::error::{RowLayoutError, UnreadableRow};
