//! `[postgres]`: the database, and the names of the slot, the publication and the outbox table.

use std::fmt;

use outbox::TableName;
use postgres_openssl::MakeTlsConnector;

use crate::config::keys;
use crate::config::postgres_url::{connection, tls};
use crate::config::settings::config_source::ConfigSource;
use crate::config::settings::values::Settings;

/// The section `[postgres]`.
#[derive(Clone)]
pub struct PostgresConfig {
    /// The connection parameters of `postgres.url`. `application_name` defaults to `postrider`, `connect_timeout` to
    /// 10 s.
    pub connection: tokio_postgres::Config,
    /// TLS according to `sslmode` and the certificates in `postgres.url`.
    pub tls: MakeTlsConnector,
    /// The replication slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// The outbox table.
    pub table: TableName,
}

/// Reads the section, and the certificates that the URL names.
pub(crate) fn read(settings: &mut Settings, source: &ConfigSource) -> Option<PostgresConfig> {
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
            Some(PostgresConfig { connection, tls, slot: slot?, publication: publication?, table: table? })
        }
        Err(message) => {
            settings.reject(keys::URL.name, message);
            None
        }
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `Debug` of `tokio_postgres::Config` hides the password.
        f.debug_struct("PostgresConfig")
            .field("connection", &self.connection)
            .field("slot", &self.slot)
            .field("publication", &self.publication)
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}
