//! The configuration read from a file and the environment.

use std::fmt;

use outbox::{Columns, InFlightLimits, TableName};
use outbox_store::{Database, Names};
use postgres_openssl::MakeTlsConnector;
use rdkafka::ClientConfig;

use super::lifecycle::{self, Failure, Receipts, Reconcile, Retention};
use super::log::Log;
use super::problem::BadConfig;
use super::properties::KafkaProperties;
use super::settings::Settings;
use super::source::Source;
use super::{connection, keys, log, tls};

/// Everything the commands are told. Every value has been checked; none of its texts holds a secret, and
/// its `Debug` leaves the secrets out.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database.
    pub postgres: Postgres,
    /// The broker.
    pub kafka: Kafka,
    /// Where records go.
    pub routing: Routing,
    /// The outbox table's columns.
    pub columns: Columns,
    /// Whether deliveries are written to the rows (`writeback.enabled`).
    pub writeback: bool,
    /// How much may be in flight.
    pub limits: InFlightLimits,
    /// How rows become COMPLETE.
    pub receipts: Receipts,
    /// When a row counts as stuck.
    pub reconcile: Reconcile,
    /// What becomes of a row that cannot be published.
    pub failure: Failure,
    /// What is deleted.
    pub retention: Retention,
    /// What is logged, and how.
    pub log: Log,
}

/// The database, and Postrider's place in it.
#[derive(Clone)]
pub struct Postgres {
    /// How to connect. It says "postrider" as application name and waits 10 s for a connection unless the
    /// URL says otherwise.
    pub connection: tokio_postgres::Config,
    /// TLS as the URL's `sslmode` and its certificates ask for.
    pub tls: MakeTlsConnector,
    /// The replication slot's name.
    pub slot: String,
    /// The publication's name.
    pub publication: String,
    /// The outbox table.
    pub table: TableName,
}

/// The broker.
#[derive(Clone)]
pub struct Kafka {
    /// `host:port`, at least one.
    pub brokers: Vec<String>,
    /// librdkafka's properties as they were set.
    pub properties: KafkaProperties,
    /// A client's configuration made of both.
    pub client: ClientConfig,
}

/// Where records go.
#[derive(Clone, Debug)]
pub struct Routing {
    /// The topic's template.
    pub topic: String,
    /// The key's template.
    pub key: String,
    /// The two, ready to be used. The columns of the user's own that they read are in the order of
    /// [`Columns::others`] of [`Config::columns`].
    pub compiled: kafka_sink::Routing,
}

/// A good configuration, and what is odd about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// One sentence each, to be logged once logging is up.
    pub warnings: Vec<String>,
}

impl Config {
    /// The names of everything in the database.
    pub fn names(&self) -> Names {
        Names {
            table: self.postgres.table.clone(),
            columns: self.columns.clone(),
            publication: self.postgres.publication.clone(),
            slot: self.postgres.slot.clone(),
        }
    }

    /// The database, with the names in it.
    pub fn database(&self) -> Database {
        Database {
            config: self.postgres.connection.clone(),
            tls: self.postgres.tls.clone(),
            names: self.names(),
        }
    }

    /// Reads the file and the environment over it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once.
    pub fn load(source: &Source) -> Result<Loaded, BadConfig> {
        let mut settings = Settings::gather(source);
        let config = read(&mut settings, source);
        for key in keys::WITHOUT_EFFECT {
            settings.without_effect(*key);
        }
        let Settings { problems, warnings, .. } = settings;
        match config {
            Some(config) if problems.is_empty() => Ok(Loaded { config, warnings }),
            _ => Err(BadConfig { problems, warnings }),
        }
    }
}

/// `None` only where there is a problem. Each part is read before any is given up on, so that all of their
/// problems are found.
fn read(settings: &mut Settings, source: &Source) -> Option<Config> {
    let postgres = postgres(settings, source);
    let kafka = kafka(settings);
    let mut columns = columns(settings);
    let routing = routing(settings, &mut columns);
    let writeback = settings.value(&keys::WRITEBACK_ENABLED);
    let limits = limits(settings);
    let receipts = lifecycle::receipts(settings);
    let reconcile = lifecycle::reconcile(settings);
    let failure = lifecycle::failure(settings);
    let retention = lifecycle::retention(settings);
    let log = log::log(settings);
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

fn postgres(settings: &mut Settings, source: &Source) -> Option<Postgres> {
    let url = settings.required(&keys::URL);
    let slot = settings.value(&keys::SLOT);
    let publication = settings.value(&keys::PUBLICATION);
    let table = settings.value(&keys::TABLE);
    let connection = connection::parse(&url?).and_then(|(connection, tls)| {
        let tls = tls::connector(&tls, source)?;
        Ok((connection, tls))
    });
    match connection {
        Ok((connection, tls)) => {
            Some(Postgres { connection, tls, slot: slot?, publication: publication?, table: table? })
        }
        Err(message) => {
            settings.refuse(keys::URL.name, message);
            None
        }
    }
}

fn kafka(settings: &mut Settings) -> Option<Kafka> {
    let brokers = settings.required(&keys::BROKERS);
    let properties = KafkaProperties(settings.properties());
    // The properties are checked whether or not there are brokers to connect to.
    let joined = brokers.as_ref().map_or("none:1".to_owned(), |brokers| brokers.join(","));
    match kafka_sink::client_config(&joined, &properties.0) {
        Ok(client) => Some(Kafka { brokers: brokers?, properties, client }),
        Err(problems) => {
            for problem in problems {
                settings.refuse(&problem.key, problem.reason);
            }
            None
        }
    }
}

fn columns(settings: &mut Settings) -> Columns {
    let mut columns = Columns::default();
    let mut taken: Vec<(&str, String)> = Vec::new();
    for (key, field) in keys::COLUMNS.iter().zip(fields(&mut columns)) {
        let Some(name) = settings.value(key) else { continue };
        match taken.iter().find(|(_, other)| *other == name) {
            Some((other, _)) => {
                settings.refuse(
                    key.name,
                    format!("names the column {name:?}, as {other} does; each part needs its own"),
                );
            }
            None => taken.push((key.name, name.clone())),
        }
        *field = name;
    }
    columns
}

/// In the order of [`keys::COLUMNS`].
fn fields(columns: &mut Columns) -> [&mut String; 18] {
    [
        &mut columns.id,
        &mut columns.aggregate_type,
        &mut columns.aggregate_id,
        &mut columns.event_type,
        &mut columns.payload,
        &mut columns.headers,
        &mut columns.topic,
        &mut columns.partition_key,
        &mut columns.status,
        &mut columns.created_at,
        &mut columns.published_at,
        &mut columns.completed_at,
        &mut columns.kafka_topic,
        &mut columns.kafka_partition,
        &mut columns.kafka_offset,
        &mut columns.attempts,
        &mut columns.last_attempt_at,
        &mut columns.last_error,
    ]
}

fn routing(settings: &mut Settings, columns: &mut Columns) -> Option<Routing> {
    // A template names columns as the table does, so that the defaults follow the mapping.
    let mapped = |default: &str| {
        let named = default.replace("{aggregate_type}", &format!("{{{}}}", columns.aggregate_type));
        named.replace("{aggregate_id}", &format!("{{{}}}", columns.aggregate_id))
    };
    let mut template = |key| settings.if_set(key).unwrap_or_else(|| key.default.map(mapped));
    let (topic, key) = (template(&keys::TOPIC), template(&keys::KEY));
    let (topic, key) = (topic?, key?);
    match kafka_sink::Routing::compile(&topic, &key, columns) {
        Ok(compiled) => Some(Routing { topic, key, compiled }),
        Err(error) => {
            for (setting, problem) in error.problems() {
                settings.refuse(setting, problem.to_owned());
            }
            None
        }
    }
}

fn limits(settings: &mut Settings) -> Option<InFlightLimits> {
    let events_max = settings.value(&keys::IN_FLIGHT_EVENTS);
    let bytes_max = settings.value(&keys::IN_FLIGHT_BYTES);
    Some(InFlightLimits { events_max: events_max?, bytes_max: bytes_max? })
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka")
            .field("brokers", &self.brokers)
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `tokio_postgres::Config` leaves the password out by itself.
        f.debug_struct("Postgres")
            .field("connection", &self.connection)
            .field("slot", &self.slot)
            .field("publication", &self.publication)
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}
