//! A client for PostgreSQL's logical replication with the `pgoutput` plugin.
//!
//! [`connect`] opens a replication connection as a [`tokio_postgres::Config`] says,
//! [`ReplicationClient::start_replication`] turns it into a [`ReplicationStream`] of [`Frame`]s, and a
//! [`Decoder`] makes [`Change`]s of their contents. Rows stay slices of the frame they arrived in: nothing
//! between the socket and the caller copies or interprets a column's value.
//!
//! Three layers, each usable without the next: [`Framing`] and [`Decoder`] are pure functions of bytes, the
//! stream adds reading and writing, `connect` adds hosts, TLS and authentication. Reconnecting is the
//! caller's business; an [`Error`] says whether it is worth it.
//!
//! The protocol is that of the PostgreSQL documentation, "Streaming Replication Protocol" and "Logical
//! Streaming Replication Protocol", version 1 of the latter.

mod authenticate;
mod change;
mod channel_binding;
mod client;
mod connect;
mod connection;
mod decode_error;
mod decoder;
mod error;
mod frame;
mod framing;
mod hosts;
mod quote;
mod reader;
mod relation;
mod row;
mod server_error;
mod socket;
mod startup;
mod status;
mod stream;
mod tls;
mod tuple;

pub use change::{Change, OtherKind};
pub use client::{ReplicationClient, StartReplication, SystemIdentity};
pub use connect::connect;
pub use decode_error::DecodeError;
pub use decoder::Decoder;
pub use error::{Error, Severity};
pub use frame::Frame;
pub use framing::{Framing, Message};
pub use relation::{Column, Relation};
pub use row::{BadRow, Layout, LayoutError};
pub use socket::Socket;
pub use status::StandbyStatus;
pub use stream::{Intake, ReplicationStream};
pub use tuple::{Tuple, Value};
