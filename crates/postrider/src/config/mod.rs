//! The configuration: one value, parsed whole and checked before anything starts.

mod connection;
mod conninfo;
#[cfg(test)]
mod example_tests;
mod file;
#[cfg(test)]
mod fixture;
mod keys;
mod lifecycle;
mod load;
mod log;
mod log_filter;
mod problem;
mod properties;
mod raw_value;
mod settings;
mod source;
mod suggest;
#[cfg(test)]
mod tests;
mod tls;

pub use lifecycle::{Failure, Policy, Receipts, Reconcile, Retention};
pub use load::{Config, Kafka, Loaded, Postgres, Routing};
pub use log::{Log, LogFormat};
pub use problem::{BadConfig, Origin, Problem};
pub use properties::KafkaProperties;
pub use source::{ReadFile, Source};
