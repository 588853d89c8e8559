//! The configuration: parsed and checked as a whole before anything starts.

mod address;
#[cfg(test)]
mod example_tests;
#[cfg(test)]
mod fixture;
mod key;
mod keys;
mod load;
mod postgres_url;
mod problem;
#[cfg(test)]
mod reference_tests;
mod sections;
mod settings;
#[cfg(test)]
mod tests;

pub use load::{Config, LoadedConfig};
pub use problem::{BadConfig, ConfigProblem, ValueOrigin};
pub use sections::failure::{FailureConfig, Policy};
pub use sections::kafka::KafkaConfig;
pub use sections::kafka_properties::KafkaProperties;
pub use sections::log::{LogConfig, LogFormat};
pub use sections::postgres::PostgresConfig;
pub use sections::receipts::ReceiptsConfig;
pub use sections::reconcile::ReconcileConfig;
pub use sections::retention::RetentionConfig;
pub use sections::routing::RoutingConfig;
pub use settings::config_source::{ConfigSource, ReadFile};
