use std::fmt;
use std::io;

use crate::decode_error::DecodeError;

/// Why a replication connection could not be opened, or ended.
///
/// The text is complete: what failed, at which address, and the remedy where one is known. There is no
/// `source()`, and the text never contains a password.
pub struct Error(Box<ErrorInner>);

#[derive(Debug)]
struct ErrorInner {
    kind: ErrorKind,
    message: String,
    remedy: Option<String>,
    sqlstate: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    Retryable,
    StreamEnded,
    SlotInUse,
    Permanent,
    SlotMissing,
    SlotInvalidated,
    PublicationMissing,
    Malformed,
}

impl Error {
    /// Whether the same attempt can succeed later, without a change to the server or the configuration.
    pub fn is_retryable(&self) -> bool {
        match self.0.kind {
            ErrorKind::Retryable | ErrorKind::StreamEnded | ErrorKind::SlotInUse => true,
            ErrorKind::Permanent
            | ErrorKind::SlotMissing
            | ErrorKind::SlotInvalidated
            | ErrorKind::PublicationMissing
            | ErrorKind::Malformed => false,
        }
    }

    /// Another connection reads from the slot; the text names its process id. Retryable.
    pub fn is_slot_in_use(&self) -> bool {
        self.0.kind == ErrorKind::SlotInUse
    }

    /// The slot does not exist. Not retryable.
    pub fn is_slot_missing(&self) -> bool {
        self.0.kind == ErrorKind::SlotMissing
    }

    /// The slot exists, but the WAL it needs has been removed: its changes are lost. Not retryable.
    ///
    /// Detected by the message text, which is English unless `lc_messages` differs, and on PostgreSQL 18 also by
    /// the name of the server's C function. On an older server with translated messages this is `false` and the
    /// error is not retryable either; there `pg_replication_slots.wal_status` is `lost`.
    pub fn is_slot_invalidated(&self) -> bool {
        self.0.kind == ErrorKind::SlotInvalidated
    }

    /// The publication does not exist at this position of the WAL. Not retryable.
    pub fn is_publication_missing(&self) -> bool {
        self.0.kind == ErrorKind::PublicationMissing
    }

    /// The server ended the stream, as it does when it shuts down. Retryable.
    pub fn is_stream_ended(&self) -> bool {
        self.0.kind == ErrorKind::StreamEnded
    }

    /// The SQLSTATE, if the error came from the server (PostgreSQL documentation, "PostgreSQL Error Codes").
    pub fn sqlstate(&self) -> Option<&str> {
        self.0.sqlstate.as_deref()
    }

    /// How to fix it; also part of the text.
    pub fn remedy(&self) -> Option<&str> {
        self.0.remedy.as_deref()
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(ErrorInner { kind, message: message.into(), remedy: None, sqlstate: None }))
    }

    pub(crate) fn permanent(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Permanent, message)
    }

    pub(crate) fn retryable(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Retryable, message)
    }

    pub(crate) fn io(activity: &str, error: &io::Error) -> Self {
        Error::retryable(format!("the replication connection failed while {activity}: {error}"))
    }

    pub(crate) fn closed(activity: &str) -> Self {
        Error::retryable(format!("the server closed the replication connection while {activity}"))
    }

    pub(crate) fn unexpected(tag: u8, activity: &str) -> Self {
        Error::new(
            ErrorKind::Malformed,
            format!("unexpected message {:?} from the server while {activity}", char::from(tag)),
        )
    }

    pub(crate) fn with_remedy(mut self, remedy: Option<String>) -> Self {
        self.0.remedy = remedy;
        self
    }

    pub(crate) fn with_sqlstate(mut self, code: String) -> Self {
        self.0.sqlstate = Some(code).filter(|code| !code.is_empty());
        self
    }

    /// Prefixes the text with the address.
    pub(crate) fn at(mut self, address: &impl fmt::Display) -> Self {
        self.0.message = format!("{address}: {}", self.0.message);
        self
    }

    /// One error for several hosts that all failed. It is retryable if any of them is: a host that is down may
    /// come back as the one `target_session_attrs` asks for.
    pub(crate) fn of_hosts(mut errors: Vec<Error>) -> Self {
        let Some(last) = errors.pop() else {
            return Error::permanent("the configuration names no host")
                .with_remedy(Some("set host or hostaddr".to_owned()));
        };
        if errors.is_empty() {
            return last;
        }
        errors.push(last);
        let is_retryable = errors.iter().any(Error::is_retryable);
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let kind = if is_retryable { ErrorKind::Retryable } else { ErrorKind::Permanent };
        Error::new(kind, format!("no host could be used: {}", texts.join("; ")))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Error::new(ErrorKind::Malformed, format!("the server violated the replication protocol: {error}"))
    }
}
