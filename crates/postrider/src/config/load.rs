//! Reads and checks the whole configuration.

use outbox::{Columns, InFlightLimits};
use outbox_store::{Database, Names};

use crate::config::keys;
use crate::config::problem::BadConfig;
use crate::config::sections::failure::{self, FailureConfig};
use crate::config::sections::kafka::{self, KafkaConfig};
use crate::config::sections::log::{self, LogConfig};
use crate::config::sections::postgres::{self, PostgresConfig};
use crate::config::sections::receipts::{self, ReceiptsConfig};
use crate::config::sections::reconcile::{self, ReconcileConfig};
use crate::config::sections::retention::{self, RetentionConfig};
use crate::config::sections::routing::{self, RoutingConfig};
use crate::config::sections::{columns, limits};
use crate::config::settings::collect::collect;
use crate::config::settings::config_source::ConfigSource;
use crate::config::settings::values::Settings;

/// A checked configuration. `Debug` hides the secrets.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[postgres]`
    pub postgres: PostgresConfig,
    /// `[kafka]`
    pub kafka: KafkaConfig,
    /// `[routing]`
    pub routing: RoutingConfig,
    /// `[columns]`
    pub columns: Columns,
    /// `writeback.enabled`: whether deliveries are written to the rows.
    pub writeback: bool,
    /// `[limits]`
    pub limits: InFlightLimits,
    /// `[receipts]`
    pub receipts: ReceiptsConfig,
    /// `[reconcile]`
    pub reconcile: ReconcileConfig,
    /// `[failure]`
    pub failure: FailureConfig,
    /// `[retention]`
    pub retention: RetentionConfig,
    /// `[log]`
    pub log: LogConfig,
}

/// A checked configuration and its warnings.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// The configuration.
    pub config: Config,
    /// One sentence each, to be logged once logging has started.
    pub warnings: Vec<String>,
}

impl Config {
    /// The names of the table, its columns, the publication and the slot.
    pub fn names(&self) -> Names {
        Names {
            table: self.postgres.table.clone(),
            columns: self.columns.clone(),
            publication: self.postgres.publication.clone(),
            slot: self.postgres.slot.clone(),
        }
    }

    /// How to connect to the database, and the names in it.
    pub fn database(&self) -> Database {
        Database {
            config: self.postgres.connection.clone(),
            tls: self.postgres.tls.clone(),
            names: self.names(),
        }
    }

    /// Reads the configuration file and the environment, which wins.
    ///
    /// # Errors
    ///
    /// All problems of the file and the environment, at once.
    pub fn load(source: &ConfigSource) -> Result<LoadedConfig, BadConfig> {
        let mut settings = collect(source);
        let config = read(&mut settings, source);
        for key in keys::WITHOUT_EFFECT {
            settings.without_effect(*key);
        }
        let Settings { problems, warnings, .. } = settings;
        match config {
            Some(config) if problems.is_empty() => Ok(LoadedConfig { config, warnings }),
            _ => Err(BadConfig { problems, warnings }),
        }
    }
}

/// `None` only if there is a problem. Reads every section before it returns, so that all problems are found.
fn read(settings: &mut Settings, source: &ConfigSource) -> Option<Config> {
    let postgres = postgres::read(settings, source);
    let kafka = kafka::read(settings);
    let mut columns = columns::read(settings);
    let routing = routing::read(settings, &mut columns);
    let writeback = settings.value(&keys::WRITEBACK_ENABLED);
    let limits = limits::read(settings);
    let receipts = receipts::read(settings);
    let reconcile = reconcile::read(settings);
    let failure = failure::read(settings);
    let retention = retention::read(settings);
    let log = log::read(settings);
    Some(Config {
        postgres: postgres?,
        kafka: kafka?,
        routing: routing?,
        columns,
        writeback: writeback?,
        limits: limits?,
        receipts: receipts?,
        reconcile: reconcile?,
        failure: failure?,
        retention: retention?,
        log: log?,
    })
}
