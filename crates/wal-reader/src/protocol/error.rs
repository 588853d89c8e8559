use std::fmt;
use std::io;

use crate::decode_error::DecodeError;

/// Why a replication connection could not be opened, or ended.
///
/// Its text is whole: what happened, where, and, where there is one, the remedy. It has no source to be
/// printed beside it, and never a password in it.
pub struct Error(Box<Inner>);

/// Whether trying again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Connect again, after a while.
    Transient,
    /// It will be the same until somebody changes something; the error says what.
    Definite,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    message: String,
    remedy: Option<String>,
    sqlstate: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Transient,
    Timeout,
    StreamEnded,
    SlotInUse,
    Definite,
    SlotMissing,
    SlotInvalidated,
    PublicationMissing,
    Malformed,
}

impl Error {
    /// Whether trying again may help.
    pub fn severity(&self) -> Severity {
        match self.0.kind {
            Kind::Transient | Kind::Timeout | Kind::StreamEnded | Kind::SlotInUse => Severity::Transient,
            Kind::Definite
            | Kind::SlotMissing
            | Kind::SlotInvalidated
            | Kind::PublicationMissing
            | Kind::Malformed => Severity::Definite,
        }
    }

    /// Whether trying again is of no use until somebody changes something.
    pub fn is_definite(&self) -> bool {
        self.severity() == Severity::Definite
    }

    /// Another connection reads from the slot; the text names its process id. Transient.
    pub fn is_slot_in_use(&self) -> bool {
        self.0.kind == Kind::SlotInUse
    }

    /// The slot does not exist. Definite.
    pub fn is_slot_missing(&self) -> bool {
        self.0.kind == Kind::SlotMissing
    }

    /// The slot exists and the log it needs does not: changes are lost to it for good. Definite.
    ///
    /// Told by the server's words where its messages are English, and by its function's name where that is
    /// distinctive (PostgreSQL 18); on an older server in another language the error is definite without this,
    /// and `pg_replication_slots.wal_status` tells.
    pub fn is_slot_invalidated(&self) -> bool {
        self.0.kind == Kind::SlotInvalidated
    }

    /// The publication does not exist at this point of the log. Definite.
    pub fn is_publication_missing(&self) -> bool {
        self.0.kind == Kind::PublicationMissing
    }

    /// The server ended the stream of its own accord, as it does when it shuts down. Transient.
    pub fn is_stream_ended(&self) -> bool {
        self.0.kind == Kind::StreamEnded
    }

    /// The server's error code, where the server sent one (PostgreSQL documentation, "PostgreSQL Error Codes").
    pub fn sqlstate(&self) -> Option<&str> {
        self.0.sqlstate.as_deref()
    }

    /// What to do about it; it is also part of the text.
    pub fn remedy(&self) -> Option<&str> {
        self.0.remedy.as_deref()
    }

    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, message: message.into(), remedy: None, sqlstate: None }))
    }

    pub(crate) fn definite(message: impl Into<String>) -> Self {
        Error::new(Kind::Definite, message)
    }

    pub(crate) fn transient(message: impl Into<String>) -> Self {
        Error::new(Kind::Transient, message)
    }

    pub(crate) fn io(doing: &str, error: &io::Error) -> Self {
        Error::transient(format!("the replication connection failed while {doing}: {error}"))
    }

    pub(crate) fn closed(doing: &str) -> Self {
        Error::transient(format!("the server closed the replication connection while we were {doing}"))
    }

    pub(crate) fn unexpected(tag: u8, doing: &str) -> Self {
        Error::new(
            Kind::Malformed,
            format!("unexpected message {:?} from the server while {doing}", char::from(tag)),
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

    /// Says where, in front.
    pub(crate) fn at(mut self, place: &str) -> Self {
        self.0.message = format!("{place}: {}", self.0.message);
        self
    }

    /// One error for several hosts, none of which would do. It is definite only if each of them is: a host
    /// that is down may come back as the one we want.
    pub(crate) fn of_hosts(mut errors: Vec<Error>) -> Self {
        let Some(last) = errors.pop() else {
            return Error::definite("the configuration names no host")
                .with_remedy(Some("set host or hostaddr".to_owned()));
        };
        if errors.is_empty() {
            return last;
        }
        let definite = last.is_definite() && errors.iter().all(Error::is_definite);
        errors.push(last);
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let kind = if definite { Kind::Definite } else { Kind::Transient };
        Error::new(kind, format!("no host would do: {}", texts.join("; ")))
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
        Error::new(
            Kind::Malformed,
            format!("the server's bytes do not follow the replication protocol: {error}"),
        )
    }
}
