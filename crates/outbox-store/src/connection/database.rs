//! The database that holds the outbox.

use std::time::Instant;

use outbox::OutageLog;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::connection::backoff::Backoff;
use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::session::{Session, Tls, connect};

/// How the database is reached, and the names of the table, its columns and the slot. Holds no connection.
#[derive(Clone)]
pub struct Database {
    /// Connection parameters.
    pub config: tokio_postgres::Config,
    /// TLS settings.
    pub tls: Tls,
    /// The names that statements use.
    pub names: Names,
}

impl Database {
    /// Opens a connection.
    ///
    /// # Errors
    ///
    /// Those of [`connect`].
    pub async fn connect(&self) -> Result<Session, StoreError> {
        connect(&self.config, &self.tls).await
    }

    /// Runs a query on a connection of its own and retries it, without end, while its error is retryable. The outage
    /// is logged once, and again every 30 s.
    ///
    /// # Errors
    ///
    /// One that retrying does not fix.
    pub async fn with_retry<T>(
        &self,
        query: impl AsyncFn(&Session) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.retry(async |session| query(&session).await).await
    }

    /// Opens a connection for several queries, of which `first` is the first; retries both while the error is
    /// retryable.
    ///
    /// # Errors
    ///
    /// One that retrying does not fix.
    pub async fn session_after<T>(
        &self,
        first: impl AsyncFn(&Session) -> Result<T, StoreError>,
    ) -> Result<(Session, T), StoreError> {
        self.retry(async |session| {
            let answer = first(&session).await?;
            Ok((session, answer))
        })
        .await
    }

    async fn retry<T>(&self, query: impl AsyncFn(Session) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut backoff = Backoff::default();
        let mut outage = OutageLog::default();
        loop {
            let answer = match self.connect().await {
                Ok(session) => query(session).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(answer) => {
                    if let Some(lasted) = outage.recovered(Instant::now()) {
                        info!(outage_s = lasted.as_secs(), "PostgreSQL answers queries again");
                    }
                    return Ok(answer);
                }
                Err(error) if !error.is_retryable() => return Err(error),
                Err(error) => {
                    let reason = error.to_string();
                    if outage.failed(&reason, Instant::now()) {
                        warn!(error = reason, "could not query PostgreSQL; retrying");
                    }
                }
            }
            sleep(backoff.next_delay()).await;
        }
    }
}
