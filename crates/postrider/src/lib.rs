//! The shell of Postrider: configuration, command line, logging, and the commands themselves.
//!
//! A configuration is parsed and checked as a whole, from a [`ConfigSource`] that tests can inject, before anything starts.

mod cli;
mod config;
mod init;
mod logging;
mod relay;
mod replay;
mod status;
mod stdout;
mod time_argument;
mod verify;

pub use cli::{Cli, Command, execute};
pub use config::{
    BadConfig, Config, ConfigProblem, ConfigSource, FailureConfig, KafkaConfig, KafkaProperties,
    LoadedConfig, LogConfig, LogFormat, Policy, PostgresConfig, ReadFile, ReceiptsConfig, ReconcileConfig,
    RetentionConfig, RoutingConfig, ValueOrigin,
};
pub use logging::start as start_logging;
pub use replay::ReplayArgs;
pub use status::StatusArguments;
pub use verify::VerifyArguments;
