//! Errors of the shop and the data platform.

use tokio_postgres::error::SqlState;

/// An error of the shop or the data platform.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// PostgreSQL returned an error, or the connection broke.
    #[error("PostgreSQL: {doing}")]
    Postgres {
        /// The operation that failed.
        doing: &'static str,
        /// The client's error.
        source: tokio_postgres::Error,
    },
    /// The outbox table does not exist (yet); the shop does not create it.
    #[error(
        "table {table} does not exist; create it with `postrider init`, or set SHOP_OUTBOX_TABLE to the outbox table"
    )]
    NoOutbox {
        /// The table's name as configured.
        table: String,
    },
    /// Kafka returned an error that is not retryable.
    #[error("Kafka: {doing}")]
    Kafka {
        /// The operation that failed.
        doing: &'static str,
        /// The client's error.
        source: rdkafka::error::KafkaError,
    },
}

impl Error {
    pub(crate) fn postgres(doing: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Error {
        move |source| Error::Postgres { doing, source }
    }

    pub(crate) fn kafka(doing: &'static str) -> impl FnOnce(rdkafka::error::KafkaError) -> Error {
        move |source| Error::Kafka { doing, source }
    }

    /// The message followed by those of its causes, in one line.
    pub(crate) fn with_causes(&self) -> String {
        let causes = std::iter::successors(std::error::Error::source(self), |cause| cause.source());
        causes.fold(self.to_string(), |line, cause| format!("{line}: {cause}"))
    }

    /// Whether a retry can succeed: the server is unavailable or starting, the outbox table does not exist yet, a
    /// serialization failure or a deadlock.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::NoOutbox { .. } => true,
            Error::Kafka { .. } => false,
            Error::Postgres { source, .. } => source.code().is_none_or(is_retryable),
        }
    }
}

/// By the code's class (PostgreSQL documentation, Appendix A): connection exception, transaction rollback,
/// insufficient resources, operator intervention.
fn is_retryable(code: &SqlState) -> bool {
    ["08", "40", "53", "57"].iter().any(|class| code.code().starts_with(class))
        || *code == SqlState::READ_ONLY_SQL_TRANSACTION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_retryable_for_server_start_shutdown_and_deadlock() {
        for code in ["57P01", "57P03", "08006", "40P01", "53300", "25006"] {
            assert!(is_retryable(&SqlState::from_code(code)), "{code}");
        }
    }

    #[test]
    fn is_retryable_not_for_wrong_password_or_missing_column() {
        for code in ["28P01", "3D000", "42703", "23505", "42501"] {
            assert!(!is_retryable(&SqlState::from_code(code)), "{code}");
        }
    }
}
