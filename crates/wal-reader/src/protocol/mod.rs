//! The frontend/backend protocol of a replication connection: connecting, authenticating, streaming.

mod authenticate;
mod channel_binding;
pub(crate) mod client;
pub(crate) mod connect;
mod connection;
pub(crate) mod error;
pub(crate) mod frame;
pub(crate) mod framing;
mod hosts;
mod quote;
mod server_error;
pub(crate) mod socket;
mod startup;
pub(crate) mod status;
pub(crate) mod stream;
mod tls;
