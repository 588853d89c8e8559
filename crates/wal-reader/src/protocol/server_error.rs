//! What an ErrorResponse or NoticeResponse says, and what it means for us.

use std::fmt;

use crate::byte_reader::ByteReader;
use crate::decode_error::DecodeError;
use crate::protocol::error::Error;
use crate::protocol::error::ErrorKind;
use crate::protocol::quote;

/// Whom the server knows us as, for remedies that can be typed in.
#[derive(Clone, Debug)]
pub(crate) struct SessionIdentity {
    pub(crate) user: String,
    pub(crate) database: String,
}

/// What the connection was doing when the server complained: the same SQLSTATE means different things.
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
    /// The server's C function. Unlike the message it is never translated.
    routine: String,
}

impl ServerError {
    pub(crate) fn parse(body: &[u8], position: u64) -> Result<Self, DecodeError> {
        let mut reader = ByteReader::new(body, position);
        let mut error = ServerError::default();
        loop {
            let field = match reader.u8("an error's field")? {
                0 => break,
                b'V' => &mut error.severity,
                b'C' => &mut error.code,
                b'M' => &mut error.message,
                b'D' => &mut error.detail,
                b'H' => &mut error.hint,
                b'R' => &mut error.routine,
                _ => {
                    reader.text_lossy("an error's field")?;
                    continue;
                }
            };
            *field = reader.text_lossy("an error's field")?;
        }
        reader.end("an error")?;
        Ok(error)
    }

    /// Whether a notice says that changes are being left out: from PostgreSQL 18 on a missing publication is
    /// no error but this warning, and what it would have published never comes.
    pub(crate) fn says_publication_skipped(&self) -> bool {
        self.severity == "WARNING" && self.routine == "LoadPublications"
    }

    /// The error for the caller: whether it lasts, and what to do about it.
    pub(crate) fn judge(self, phase: ConnectionPhase, identity: &SessionIdentity) -> Error {
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
                if self.is_about_publications() =>
            {
                (
                    ErrorKind::PublicationMissing,
                    remedy(
                        "create the publication with `postrider init`; if it was created after the slot, or dropped and \
                     created again, the slot must be created anew too, because it reads the log from before",
                    ),
                )
            }
            ("55006", _) => (
                ErrorKind::SlotInUse,
                remedy(
                    "another relay or a connection not yet given up holds the slot; it is free once that ends",
                ),
            ),
            ("55000", _) if self.is_about_wal_level() => {
                (ErrorKind::Permanent, remedy("set wal_level = logical and restart the server"))
            }
            ("55000", ConnectionPhase::Starting | ConnectionPhase::Streaming)
            | ("58P01", ConnectionPhase::Streaming)
                if self.is_about_lost_wal() =>
            {
                (
                    ErrorKind::SlotInvalidated,
                    remedy(
                        "drop the slot and create a new one with `postrider init`; raise max_slot_wal_keep_size so that \
                         it does not happen again",
                    ),
                )
            }
            ("55000" | "22023", ConnectionPhase::Starting) => (
                ErrorKind::Permanent,
                remedy(
                    "name a logical slot of this database, created with the plugin pgoutput, or create it with `postrider init`",
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
                    "check that the role exists, may log in, and is let in by pg_hba.conf: by a line for the database, since \
                     the keyword \"replication\" there does not cover logical replication",
                ),
            ),
            ("3D000", _) => (ErrorKind::Permanent, remedy("create the database, or correct its name")),
            ("08P01", ConnectionPhase::Connecting) => (
                ErrorKind::Permanent,
                remedy("connect to the server itself: a connection pooler does not pass on replication"),
            ),
            ("53300", _) => {
                (ErrorKind::Retryable, remedy("raise max_wal_senders or max_connections if this goes on"))
            }
            ("55P03" | "25006", _) => (ErrorKind::Retryable, None),
            // A protocol violation will be one again; every other connection exception may pass.
            ("08P01", _) => (ErrorKind::Permanent, None),
            // Connection, rollback, resources, operator intervention, system and internal errors: the server's
            // condition of the moment, not something we asked for wrongly.
            (code, _) if ["08", "40", "53", "57", "58", "XX"].iter().any(|class| code.starts_with(class)) => {
                (ErrorKind::Retryable, None)
            }
            _ => (ErrorKind::Permanent, None),
        }
    }

    fn is_about_publications(&self) -> bool {
        self.routine == "get_publication_by_name"
            || self.routine == "get_publication_oid"
            || self.says_publication_skipped()
            || self.message.contains("publication")
    }

    fn is_about_wal_level(&self) -> bool {
        self.routine == "CheckLogicalDecodingRequirements" || self.message.contains("wal_level")
    }

    /// The messages are the server's language, so the words decide only where they are English; the routine
    /// decides otherwise.
    fn is_about_lost_wal(&self) -> bool {
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
        for more in [&self.detail, &self.hint] {
            if !more.is_empty() {
                write!(f, " ({more})")?;
            }
        }
        write!(f, " [SQLSTATE {}]", self.code)
    }
}
