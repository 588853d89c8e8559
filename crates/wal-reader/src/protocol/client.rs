use std::fmt;

use outbox::Lsn;

use crate::protocol::connection::{ReplicationConnection, TextRow};
use crate::protocol::error::Error;
use crate::protocol::quote;
use crate::protocol::server_error::ConnectionPhase;
use crate::protocol::stream::ReplicationStream;

/// The type byte of CopyBothResponse, which postgres-protocol does not define.
const COPY_BOTH_RESPONSE_TAG: u8 = b'W';

/// A replication connection that is ready for a command.
pub struct ReplicationClient {
    connection: ReplicationConnection,
}

/// The row that IDENTIFY_SYSTEM returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemIdentity {
    /// Identifier of the cluster, created by initdb; a standby has its primary's.
    pub system_id: String,
    /// Timeline; incremented by every promotion.
    pub timeline: u32,
    /// The WAL is flushed to disk up to here.
    pub flush_lsn: Lsn,
    /// The database of this connection.
    pub database: Option<String>,
}

/// The parameters of START_REPLICATION.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartReplication {
    /// Name of a logical slot with the plugin `pgoutput`.
    pub slot: String,
    /// Names of the publications, at least one.
    pub publications: Vec<String>,
    /// Start position: transactions that committed before it are skipped. The server starts at the slot's
    /// `confirmed_flush_lsn` if that is later, so [`Lsn::ZERO`] means "from the confirmed position".
    pub from: Lsn,
}

impl ReplicationClient {
    pub(crate) fn new(connection: ReplicationConnection) -> Self {
        ReplicationClient { connection }
    }

    /// The last reported value of a server parameter, such as `server_version`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.connection.parameters.get(name).map(String::as_str)
    }

    /// Runs IDENTIFY_SYSTEM (PostgreSQL documentation, "Streaming Replication Protocol").
    ///
    /// # Errors
    /// Connection errors, and a malformed answer.
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, Error> {
        let row = one_row(self.connection.query("IDENTIFY_SYSTEM").await?)?;
        let mut columns = row.into_iter();
        let (Some(Some(system_id)), Some(Some(timeline)), Some(Some(flush_lsn)), Some(database)) =
            (columns.next(), columns.next(), columns.next(), columns.next())
        else {
            return Err(Error::permanent("the answer to IDENTIFY_SYSTEM lacks a column"));
        };
        let malformed = |error: &dyn fmt::Display| {
            Error::permanent(format!("the answer to IDENTIFY_SYSTEM is malformed: {error}"))
        };
        Ok(SystemIdentity {
            system_id,
            timeline: timeline.parse().map_err(|error| malformed(&error))?,
            flush_lsn: flush_lsn.parse().map_err(|error| malformed(&error))?,
            database,
        })
    }

    /// The value of a setting as SHOW prints it: `wal_sender_timeout`, `wal_level`, `transaction_read_only`.
    ///
    /// # Errors
    /// Connection errors; not retryable if the setting does not exist.
    pub async fn show(&mut self, name: &str) -> Result<String, Error> {
        // The replication grammar accepts a quoted identifier here; setting names are case-insensitive.
        let command = format!("SHOW {}", quote::identifier(name));
        let row = one_row(self.connection.query(&command).await?)?;
        row.into_iter()
            .next()
            .flatten()
            .ok_or_else(|| Error::permanent(format!("the server returned no value for setting {name:?}")))
    }

    /// Runs START_REPLICATION with pgoutput: protocol version 1, values in binary format, without logical messages:
    /// any role may emit a message of any size, and the whole message would have to be buffered.
    ///
    /// # Errors
    /// Retryable if another connection holds the slot ([`Error::is_slot_in_use`]); not retryable, and with a
    /// remedy, if the slot or the server cannot be used. The server looks publications up when it decodes the
    /// first change, so a missing one is an error of the stream.
    pub async fn start_replication(mut self, start: &StartReplication) -> Result<ReplicationStream, Error> {
        if start.publications.is_empty() {
            return Err(Error::permanent("START_REPLICATION needs at least one publication"));
        }
        let command = format!(
            "START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names {}, binary 'true')",
            quote::identifier(&start.slot),
            start.from,
            quote::identifier_list_literal(&start.publications),
        );
        self.connection.phase = ConnectionPhase::Starting;
        let activity = "starting replication";
        self.connection.send_query(&command).await?;
        match self.connection.receive(activity).await?.tag {
            COPY_BOTH_RESPONSE_TAG => {
                self.connection.phase = ConnectionPhase::Streaming;
                Ok(ReplicationStream::new(self.connection))
            }
            tag => Err(Error::unexpected(tag, activity)),
        }
    }

    /// Terminates the session.
    pub async fn close(mut self) {
        self.connection.terminate().await;
    }
}

impl fmt::Debug for ReplicationClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicationClient")
            .field("parameters", &self.connection.parameters)
            .finish_non_exhaustive()
    }
}

fn one_row(rows: Vec<TextRow>) -> Result<TextRow, Error> {
    rows.into_iter()
        .next()
        .ok_or_else(|| Error::permanent("the server returned no row for a command that always has one"))
}
