use std::error::Error as StdError;
use std::fmt;
use std::io;

use tokio_postgres::error::{DbError, SqlState};

/// What went wrong with the database, split at the place that knows into what passes and what does not.
///
/// Its text says what was being done, what the server said and what to do; it never holds a password, nor the
/// values of a row.
#[derive(Debug)]
pub struct StoreError {
    doing: String,
    cause: String,
    remedy: Option<String>,
    definite: bool,
    code: Option<SqlState>,
}

impl StoreError {
    /// Trying again may help: the connection was lost, the server is starting, a lock was not to be had.
    pub fn transient(doing: impl Into<String>, cause: impl Into<String>) -> Self {
        StoreError { doing: doing.into(), cause: cause.into(), remedy: None, definite: false, code: None }
    }

    /// Trying again does not help: somebody has to change something.
    pub fn definite(doing: impl Into<String>, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        StoreError {
            doing: doing.into(),
            cause: cause.into(),
            remedy: Some(remedy.into()),
            definite: true,
            code: None,
        }
    }

    /// Whether the server takes no connections because it is shutting down or starting up.
    pub fn is_server_closed(&self) -> bool {
        let closed = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW];
        self.code.as_ref().is_some_and(|code| closed.contains(code))
    }

    pub(crate) fn postgres(doing: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> StoreError {
        let doing = doing.into();
        move |error| match error.as_db_error() {
            Some(server) => StoreError {
                cause: said(server),
                remedy: remedy(server.code()).map(str::to_owned),
                definite: is_definite(server.code()),
                code: Some(server.code().clone()),
                doing,
            },
            None => {
                let cause = chain(&error);
                let remedy = of_the_connection(&error, &cause);
                StoreError {
                    doing,
                    definite: remedy.is_some(),
                    remedy: remedy.map(str::to_owned),
                    cause,
                    code: None,
                }
            }
        }
    }

    /// Whether trying again is of no use.
    pub fn is_definite(&self) -> bool {
        self.definite
    }

    /// What somebody has to do, where that is known.
    pub fn remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    /// The server's SQLSTATE, where the server said anything (PostgreSQL documentation, appendix "PostgreSQL
    /// Error Codes").
    pub fn code(&self) -> Option<&str> {
        self.code.as_ref().map(SqlState::code)
    }

    pub(crate) fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doing, self.cause)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl StdError for StoreError {}

/// The server's own words. Of an integrity violation (class 23) the detail is left out: it shows the row.
fn said(error: &DbError) -> String {
    let mut said = format!("{} (SQLSTATE {})", error.message(), error.code().code());
    let detail = error.detail().filter(|_| !error.code().code().starts_with("23"));
    for more in [detail, error.hint()].into_iter().flatten() {
        said.push_str(": ");
        said.push_str(more);
    }
    said
}

fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

fn is_definite(code: &SqlState) -> bool {
    let code = code.code();
    let transient = match &code[..2] {
        // Connection exceptions, rollbacks such as serialization failures and deadlocks, a lack of resources,
        // an operator's intervention (shutdown, cancel, "starting up"), errors of the machine and internal ones,
        // such as a catalog that changes while it is read.
        "08" | "40" | "53" | "57" | "58" | "XX" => code != "57P04",
        // Read-only (a failover is under way), idle-session and transaction timeouts, object in use, lock not
        // available.
        _ => matches!(code, "25006" | "25P03" | "25P04" | "55006" | "55P03"),
    };
    !transient
}

fn remedy(code: &SqlState) -> Option<&'static str> {
    Some(match code.code() {
        "28P01" => "check the user and the password in postgres.url",
        "28000" => "check the user in postgres.url and the server's pg_hba.conf",
        "3D000" | "57P04" => "check the database in postgres.url",
        "42501" => "grant the role what it lacks, or use another in postgres.url",
        "42P01" | "42703" | "3F000" => "check the configured names, or run `postrider init`",
        "26000" => "connect to PostgreSQL itself: a pooler in transaction mode loses prepared statements",
        "25006" => "connect to the primary, for instance with target_session_attrs=read-write",
        "53300" => "raise max_connections, or free connections",
        "53100" => "make room on the server's disk",
        "53400" => "raise max_replication_slots and restart the server, or drop a slot that is not used",
        "55000" => "logical decoding takes wal_level = logical and a slot that is not lost",
        code if code.starts_with("23") => {
            "a constraint of the table refuses what Postrider writes; change it"
        }
        _ => return None,
    })
}

/// The remedy of an error without the server's word; with none, it is one that passes.
fn of_the_connection(error: &tokio_postgres::Error, cause: &str) -> Option<&'static str> {
    if error.is_closed() || has_io(error) {
        return None;
    }
    // tokio-postgres keeps the kind of its errors to itself; these are the beginnings of their texts.
    if cause.starts_with("error performing TLS handshake") {
        return Some("check sslmode and the certificates, here and at the server");
    }
    if cause.starts_with("authentication error") {
        return Some("check the user and the password in postgres.url");
    }
    if cause.starts_with("invalid con") {
        return Some("check postgres.url");
    }
    let ours = ["error serializing", "error deserializing", "invalid column", "expected ", "query returned"];
    ours.iter()
        .any(|start| cause.starts_with(start))
        .then_some("this is a bug in Postrider; please report it")
}

fn has_io(error: &tokio_postgres::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<io::Error>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_waited_out_and_what_does_not_is_not() {
        for code in [
            "08006", "08P01", "57P01", "57P02", "57P03", "57014", "53300", "40001", "40P01", "25006",
            "55P03", "XX000",
        ] {
            assert!(!is_definite(&SqlState::from_code(code)), "{code}");
        }
        for code in ["42P01", "42703", "42501", "28P01", "28000", "42601", "3D000", "23514", "57P04"] {
            assert!(is_definite(&SqlState::from_code(code)), "{code}");
        }
    }
}
