use std::error::Error as StdError;
use std::fmt;
use std::io;

use tokio_postgres::error::{DbError, SqlState};

/// An error of a database operation, classified as retryable or not.
///
/// Its text names the operation, the server's message and the remedy. It never contains a password or a row's values.
#[derive(Debug)]
pub struct StoreError {
    operation: String,
    cause: String,
    remedy: Option<String>,
    retryable: bool,
    code: Option<SqlState>,
}

impl StoreError {
    /// A retry can succeed: the connection was lost, the server is starting, a lock was not available.
    pub fn retryable(operation: impl Into<String>, cause: impl Into<String>) -> Self {
        StoreError {
            operation: operation.into(),
            cause: cause.into(),
            remedy: None,
            retryable: true,
            code: None,
        }
    }

    /// A retry cannot succeed before the remedy is applied.
    pub fn definite(
        operation: impl Into<String>,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        StoreError {
            operation: operation.into(),
            cause: cause.into(),
            remedy: Some(remedy.into()),
            retryable: false,
            code: None,
        }
    }

    /// Whether the server rejects connections because it is shutting down or starting up.
    pub fn is_server_closed(&self) -> bool {
        let closed = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW];
        self.code.as_ref().is_some_and(|code| closed.contains(code))
    }

    pub(crate) fn postgres(operation: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> StoreError {
        let operation = operation.into();
        move |error| match error.as_db_error() {
            Some(server) => StoreError {
                cause: server_message(server),
                remedy: remedy(server.code()).map(str::to_owned),
                retryable: is_retryable(server.code()),
                code: Some(server.code().clone()),
                operation,
            },
            None => {
                let cause = chain(&error);
                let remedy = client_remedy(&error, &cause);
                StoreError {
                    operation,
                    retryable: remedy.is_none(),
                    remedy: remedy.map(str::to_owned),
                    cause,
                    code: None,
                }
            }
        }
    }

    /// Whether a retry can succeed without a change by an operator.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// What an operator has to change, if known.
    pub fn remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    /// The server's SQLSTATE, if the error came from the server (PostgreSQL documentation, appendix "PostgreSQL
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
        write!(f, "{}: {}", self.operation, self.cause)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl StdError for StoreError {}

/// The server's message. The detail of an integrity violation (class 23) is omitted, because it contains the row.
fn server_message(error: &DbError) -> String {
    let mut message = format!("{} (SQLSTATE {})", error.message(), error.code().code());
    let detail = error.detail().filter(|_| !error.code().code().starts_with("23"));
    for more in [detail, error.hint()].into_iter().flatten() {
        message.push_str(": ");
        message.push_str(more);
    }
    message
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

fn is_retryable(code: &SqlState) -> bool {
    let code = code.code();
    match &code[..2] {
        // Connection exception, transaction rollback, insufficient resources, operator intervention, system error,
        // and internal error, such as a catalog that changes while it is read.
        "08" | "40" | "53" | "57" | "58" | "XX" => code != "57P04",
        // Read-only transaction (during a failover), idle-in-transaction and transaction timeouts, object in use, lock
        // not available.
        _ => matches!(code, "25006" | "25P03" | "25P04" | "55006" | "55P03"),
    }
}

fn remedy(code: &SqlState) -> Option<&'static str> {
    Some(match code.code() {
        "28P01" => "check the user and the password in postgres.url",
        "28000" => "check the user in postgres.url and the server's pg_hba.conf",
        "3D000" | "57P04" => "check the database in postgres.url",
        "42501" => "grant the role the missing privilege, or use another role in postgres.url",
        "42P01" | "42703" | "3F000" => "check the configured names, or run `postrider init`",
        "26000" => "connect to PostgreSQL itself: a pooler in transaction mode loses prepared statements",
        "25006" => "connect to the primary, for instance with target_session_attrs=read-write",
        "53300" => "raise max_connections, or free connections",
        "53100" => "free space on the server's disk",
        "53400" => "raise max_replication_slots and restart the server, or drop a slot that is not used",
        "55000" => "logical decoding needs wal_level = logical and a slot that is not lost",
        code if code.starts_with("23") => {
            "a constraint of the table rejects the values that Postrider writes; change the constraint"
        }
        _ => return None,
    })
}

/// The remedy of an error that the client raised; `None` if the error is retryable.
fn client_remedy(error: &tokio_postgres::Error, cause: &str) -> Option<&'static str> {
    if error.is_closed() || has_io(error) {
        return None;
    }
    // The kind of a tokio-postgres error is private, so its text is compared.
    if cause.starts_with("error performing TLS handshake") {
        return Some("check sslmode and the certificates, here and at the server");
    }
    if cause.starts_with("authentication error") {
        return Some("check the user and the password in postgres.url");
    }
    if cause.starts_with("invalid con") {
        return Some("check postgres.url");
    }
    let bugs = ["error serializing", "error deserializing", "invalid column", "expected ", "query returned"];
    bugs.iter()
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
    fn is_retryable_classifies_sqlstates() {
        for code in [
            "08006", "08P01", "57P01", "57P02", "57P03", "57014", "53300", "40001", "40P01", "25006",
            "55P03", "XX000",
        ] {
            assert!(is_retryable(&SqlState::from_code(code)), "{code}");
        }
        for code in ["42P01", "42703", "42501", "28P01", "28000", "42601", "3D000", "23514", "57P04"] {
            assert!(!is_retryable(&SqlState::from_code(code)), "{code}");
        }
    }
}
