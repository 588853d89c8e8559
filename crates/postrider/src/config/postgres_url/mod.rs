//! `postgres.url`: libpq's connection strings, and TLS.

pub(crate) mod connection;
pub(crate) mod conninfo;
pub(crate) mod tls;
