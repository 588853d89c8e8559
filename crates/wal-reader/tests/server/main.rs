//! Tests against PostgreSQL. They share one server, where each has its own database, publication and slot; tests that
//! stop or break their server start their own.

mod connecting;
mod ending;
mod feedback;
mod refusals;
mod streaming;
mod support;
mod tls;
