use std::fmt;

use outbox::Lsn;

use crate::protocol::connection::{ReplicationConnection, TextRow};
use crate::protocol::error::Error;
use crate::protocol::quote;
use crate::protocol::server_error::ConnectionPhase;
use crate::protocol::stream::ReplicationStream;

/// The type byte of CopyBothResponse, which postgres-protocol does not know.
const COPY_BOTH_RESPONSE_TAG: u8 = b'W';

/// A replication connection that waits for a command.
pub struct ReplicationClient {
    connection: ReplicationConnection,
}

/// Who a server is: the answer to IDENTIFY_SYSTEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemIdentity {
    /// Identifies the cluster since its initdb; a standby has its primary's.
    pub system_id: String,
    /// Rises with every promotion.
    pub timeline: u32,
    /// How far the log is flushed to disk.
    pub flush_lsn: Lsn,
    /// The database of this connection.
    pub database: Option<String>,
}

/// What to stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartReplication {
    /// A logical slot with the plugin pgoutput.
    pub slot: String,
    /// At least one publication.
    pub publications: Vec<String>,
    /// Transactions that ended before this are not sent. The server begins at the slot's confirmed position
    /// where that is later, so [`Lsn::ZERO`] means "where it was left".
    pub from: Lsn,
}

impl ReplicationClient {
    pub(crate) fn new(connection: ReplicationConnection) -> Self {
        ReplicationClient { connection }
    }

    /// A parameter as the server last reported it, such as `server_version`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.connection.parameters.get(name).map(String::as_str)
    }

    /// Asks the server who it is (PostgreSQL documentation, "Streaming Replication Protocol").
    ///
    /// # Errors
    /// The connection's, or an answer that is none.
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, Error> {
        let row = one_row(self.connection.query("IDENTIFY_SYSTEM").await?)?;
        let mut columns = row.into_iter();
        let (Some(Some(system_id)), Some(Some(timeline)), Some(Some(flush_lsn)), Some(database)) =
            (columns.next(), columns.next(), columns.next(), columns.next())
        else {
            return Err(Error::permanent(
                "the server's answer to IDENTIFY_SYSTEM has other columns than expected",
            ));
        };
        let malformed = |what: &dyn fmt::Display| {
            Error::permanent(format!("the answer to IDENTIFY_SYSTEM is malformed: {what}"))
        };
        Ok(SystemIdentity {
            system_id,
            timeline: timeline.parse().map_err(|error| malformed(&error))?,
            flush_lsn: flush_lsn.parse().map_err(|error| malformed(&error))?,
            database,
        })
    }

    /// A setting's value as SHOW prints it: `wal_sender_timeout`, `wal_level`, `transaction_read_only`.
    ///
    /// # Errors
    /// The connection's; definite if there is no such setting.
    pub async fn show(&mut self, name: &str) -> Result<String, Error> {
        // The replication grammar takes a quoted identifier here; the setting's name is case-insensitive.
        let command = format!("SHOW {}", quote::identifier(name));
        let row = one_row(self.connection.query(&command).await?)?;
        row.into_iter()
            .next()
            .flatten()
            .ok_or_else(|| Error::permanent(format!("the server shows nothing for {name:?}")))
    }

    /// Begins streaming with pgoutput: protocol version 1, values in binary, logical messages included.
    ///
    /// # Errors
    /// Definite where slot or server are not fit for it, each with its remedy; transient where another
    /// connection still holds the slot ([`Error::is_slot_in_use`]). A missing publication shows later, when
    /// the first change is to be sent.
    pub async fn start_replication(mut self, start: &StartReplication) -> Result<ReplicationStream, Error> {
        if start.publications.is_empty() {
            return Err(Error::permanent("no publication is named to stream"));
        }
        let command = format!(
            "START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names {}, binary 'true', messages 'true')",
            quote::identifier(&start.slot),
            start.from,
            quote::identifiers_in_a_literal(&start.publications),
        );
        self.connection.phase = ConnectionPhase::Starting;
        let doing = "starting replication";
        self.connection.send_query(&command).await?;
        match self.connection.receive(doing).await?.tag {
            COPY_BOTH_RESPONSE_TAG => {
                self.connection.phase = ConnectionPhase::Streaming;
                Ok(ReplicationStream::new(self.connection))
            }
            tag => Err(Error::unexpected(tag, doing)),
        }
    }

    /// Ends the session.
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
    rows.into_iter().next().ok_or_else(|| Error::permanent("the server answered a command without a row"))
}
