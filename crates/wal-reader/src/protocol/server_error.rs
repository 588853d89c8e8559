//! Parses ErrorResponse and NoticeResponse, and classifies errors: retryable or not, and the remedy.

use std::fmt;

use crate::byte_reader::ByteReader;
use crate::decode_error::DecodeError;
use crate::protocol::error::Error;
use crate::protocol::error::ErrorKind;
use crate::protocol::quote;

/// The user and database of the session, for remedies that are complete SQL statements.
#[derive(Clone, Debug)]
pub(crate) struct SessionIdentity {
    pub(crate) user: String,
    pub(crate) database: String,
}

/// What the connection is doing: the meaning of an SQLSTATE depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionPhase {
    Connecting,
    Idle,
    Starting,
    Streaming,
}

/// PostgreSQL documentation, "Error and Notice Message Fields".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerError {
    pub(crate) severity: String,
    pub(crate) code: String,
    message: String,
    detail: String,
    hint: String,
    /// The C function that reported it. Unlike the message it is never translated.
    routine: String,
}

impl ServerError {
    pub(crate) fn parse(body: &[u8], position: u64) -> Result<Self, DecodeError> {
        let mut reader = ByteReader::new(body, position);
        let mut error = ServerError::default();
        loop {
            let field = match reader.u8("an error field")? {
                0 => break,
                b'V' => &mut error.severity,
                b'C' => &mut error.code,
                b'M' => &mut error.message,
                b'D' => &mut error.detail,
                b'H' => &mut error.hint,
                b'R' => &mut error.routine,
                _ => {
                    reader.text_lossy("an error field")?;
                    continue;
                }
            };
            *field = reader.text_lossy("an error field")?;
        }
        reader.end("an ErrorResponse")?;
        Ok(error)
    }

    /// Whether this is the warning that a publication does not exist. Since PostgreSQL 18 the server then skips
    /// the publication's changes instead of reporting an error.
    pub(crate) fn is_publication_skipped(&self) -> bool {
        self.severity == "WARNING" && self.routine == "LoadPublications"
    }

    /// The error for the caller, with its kind and remedy.
    pub(crate) fn into_error(self, phase: ConnectionPhase, identity: &SessionIdentity) -> Error {
        let (kind, remedy) = self.kind_and_remedy(phase, identity);
        let message = match phase {
            ConnectionPhase::Connecting => format!("the server refused the replication connection: {self}"),
            ConnectionPhase::Idle => format!("the server refused a command: {self}"),
            ConnectionPhase::Starting => format!("the server refused to start replication: {self}"),
            ConnectionPhase::Streaming => format!("the server ended the replication stream: {self}"),
        };
        Error::new(kind, message).with_remedy(remedy).with_sqlstate(self.code)
    }

    fn kind_and_remedy(
        &self,
        phase: ConnectionPhase,
        identity: &SessionIdentity,
    ) -> (ErrorKind, Option<String>) {
        let remedy = |text: &str| Some(text.to_owned());
        match (self.code.as_str(), phase) {
            ("42704", ConnectionPhase::Starting) => {
                (ErrorKind::SlotMissing, remedy("create the slot with `postrider init`, or correct its name"))
            }
            ("42704", ConnectionPhase::Streaming) | ("55000", ConnectionPhase::Streaming)
                if self.concerns_publication() =>
            {
                (
                    ErrorKind::PublicationMissing,
                    remedy(
                        "create the publication with `postrider init`; if the slot is older than the publication, drop \
                         the slot and create it again, because it decodes WAL from before the publication existed",
                    ),
                )
            }
            ("55006", _) => (
                ErrorKind::SlotInUse,
                remedy(
                    "another relay, or a connection that the server has not closed yet, holds the slot; it is free \
                     when that connection ends",
                ),
            ),
            ("55000", _) if self.concerns_wal_level() => {
                (ErrorKind::Permanent, remedy("set wal_level = logical and restart the server"))
            }
            ("55000", ConnectionPhase::Starting | ConnectionPhase::Streaming)
            | ("58P01", ConnectionPhase::Streaming)
                if self.concerns_lost_wal() =>
            {
                (
                    ErrorKind::SlotInvalidated,
                    remedy(
                        "drop the slot and create a new one with `postrider init`; raise max_slot_wal_keep_size to \
                         avoid this",
                    ),
                )
            }
            ("55000" | "22023", ConnectionPhase::Starting) => (
                ErrorKind::Permanent,
                remedy(
                    "use a logical slot of this database with the plugin pgoutput, or create one with \
                     `postrider init`",
                ),
            ),
            ("42501", ConnectionPhase::Connecting) if self.routine == "CheckMyDatabase" => (
                ErrorKind::Permanent,
                Some(format!(
                    "GRANT CONNECT ON DATABASE {} TO {}",
                    quote::identifier(&identity.database),
                    quote::identifier(&identity.user)
                )),
            ),
            ("42501", ConnectionPhase::Connecting | ConnectionPhase::Starting) => (
                ErrorKind::Permanent,
                Some(format!(
                    "ALTER ROLE {} REPLICATION (on a managed service, grant its replication role)",
                    quote::identifier(&identity.user)
                )),
            ),
            ("28P01", _) => (ErrorKind::Permanent, remedy("correct the user name or the password")),
            ("28000", _) => (
                ErrorKind::Permanent,
                remedy(
                    "check that the role exists, has LOGIN, and is accepted by a line of pg_hba.conf for the \
                     database: the keyword \"replication\" there does not cover logical replication",
                ),
            ),
            ("3D000", _) => (ErrorKind::Permanent, remedy("create the database, or correct its name")),
            ("08P01", ConnectionPhase::Connecting) => (
                ErrorKind::Permanent,
                remedy("connect to the server directly: connection poolers do not support replication"),
            ),
            ("53300", _) => {
                (ErrorKind::Retryable, remedy("raise max_wal_senders or max_connections if this persists"))
            }
            ("55P03" | "25006", _) => (ErrorKind::Retryable, None),
            // Of class 08, only a protocol violation is permanent.
            ("08P01", _) => (ErrorKind::Permanent, None),
            // Connection exceptions, transaction rollback, insufficient resources, operator intervention, system
            // and internal errors depend on the server's present condition, not on the request.
            (code, _) if ["08", "40", "53", "57", "58", "XX"].iter().any(|class| code.starts_with(class)) => {
                (ErrorKind::Retryable, None)
            }
            _ => (ErrorKind::Permanent, None),
        }
    }

    fn concerns_publication(&self) -> bool {
        self.routine == "get_publication_by_name"
            || self.routine == "get_publication_oid"
            || self.is_publication_skipped()
            || self.message.contains("publication")
    }

    fn concerns_wal_level(&self) -> bool {
        self.routine == "CheckLogicalDecodingRequirements" || self.message.contains("wal_level")
    }

    /// Messages may be translated (`lc_messages`); then only the routine identifies the error.
    fn concerns_lost_wal(&self) -> bool {
        self.detail.contains("invalidated")
            || self.detail.contains("never previously reserved WAL")
            || self.message.contains("can no longer")
            || self.message.contains("requested WAL segment")
            || self.routine == "RaiseSlotInvalidationError"
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        for part in [&self.detail, &self.hint] {
            if !part.is_empty() {
                write!(f, " ({part})")?;
            }
        }
        write!(f, " [SQLSTATE {}]", self.code)
    }
}
