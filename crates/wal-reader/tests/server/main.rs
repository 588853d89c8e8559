//! Tests against PostgreSQL. They share one server, where each has its own database, publication and slot; tests that
//! stop or break their server start their own.

mod connect;
mod server_errors;
mod status_updates;
mod stream_end;
mod streaming;
mod support;
mod tls;
