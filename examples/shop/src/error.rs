//! What can go wrong in the shop, for the person who reads its log.

use tokio_postgres::error::SqlState;

/// Why the shop or the data platform could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// PostgreSQL refused or went away.
    #[error("PostgreSQL, while {doing}")]
    Postgres {
        /// What the shop was doing.
        doing: &'static str,
        /// PostgreSQL's own words.
        source: tokio_postgres::Error,
    },
    /// The outbox table is not there (yet); the shop does not make it.
    #[error(
        "there is no table {table}: whoever runs the outbox makes it (for Postrider: `postrider init`); \
         SHOP_OUTBOX_TABLE names another one"
    )]
    NoOutbox {
        /// The table's name as configured.
        table: String,
    },
    /// Kafka refused.
    #[error("Kafka, while {doing}")]
    Kafka {
        /// What the data platform was doing.
        doing: &'static str,
        /// The client's own words.
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

    /// The message and those of its causes, in one line.
    pub(crate) fn with_causes(&self) -> String {
        let causes = std::iter::successors(std::error::Error::source(self), |cause| cause.source());
        causes.fold(self.to_string(), |line, cause| format!("{line}: {cause}"))
    }

    /// Whether waiting can help: a server that is away or starting, a table that is still to be made, a
    /// transaction that lost against another one.
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
    fn a_server_that_starts_or_stops_is_worth_waiting_for() {
        for code in ["57P01", "57P03", "08006", "40P01", "53300", "25006"] {
            assert!(is_retryable(&SqlState::from_code(code)), "{code}");
        }
    }

    #[test]
    fn a_wrong_password_or_a_missing_column_is_not() {
        for code in ["28P01", "3D000", "42703", "23505", "42501"] {
            assert!(!is_retryable(&SqlState::from_code(code)), "{code}");
        }
    }
}
