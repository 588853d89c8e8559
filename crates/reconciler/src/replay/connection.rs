use std::time::Instant;

use outbox::OutageLog;
use outbox_store::{Backoff, Database, ReplayRows, Session, StoreError};
use tokio::time::sleep;
use tracing::{info, warn};

/// A connection that is opened when it is needed, and again after it was lost.
pub(super) struct ReplayConnection {
    pub(super) database: Database,
    reads_pages: bool,
    session: Option<Session>,
    outage: OutageLog,
    backoff: Backoff,
}

/// Runs a query once: `once!(connection, session => query(session))`. A macro, because closures that borrow the session
/// keep the future from being `Send` (rust-lang/rust issue 100013).
macro_rules! once {
    ($connection:expr, $session:ident => $query:expr) => {{
        let result = match $connection.session().await {
            Ok($session) => $query.await,
            Err(error) => Err(error),
        };
        $connection.observe(result)
    }};
}

/// Runs a query until it succeeds or fails with an error that is not retryable.
macro_rules! retry {
    ($connection:expr, $session:ident => $query:expr) => {
        loop {
            let result = match $connection.session().await {
                Ok($session) => $query.await,
                Err(error) => Err(error),
            };
            if let Some(result) = $connection.finished(result).await {
                break result;
            }
        }
    };
}

pub(super) use {once, retry};

impl ReplayConnection {
    /// For the requests and their progress.
    pub(super) fn new(database: Database) -> Self {
        let (outage, backoff) = (OutageLog::default(), Backoff::default());
        ReplayConnection { database, reads_pages: false, session: None, outage, backoff }
    }

    /// For the pages of a replay.
    pub(super) fn for_pages(database: Database) -> Self {
        ReplayConnection { reads_pages: true, ..ReplayConnection::new(database) }
    }

    /// Observes the result of a query. After a retryable error it waits for the backoff and returns `None`.
    pub(super) async fn finished<T>(
        &mut self,
        result: Result<T, StoreError>,
    ) -> Option<Result<T, StoreError>> {
        match self.observe(result) {
            Err(error) if error.is_retryable() => {
                self.log_outage(&error);
                sleep(self.backoff.next_delay()).await;
                None
            }
            result => Some(result),
        }
    }

    /// Observes the result of a query: the connection of a failed one is closed.
    pub(super) fn observe<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        match &result {
            Err(_) => self.session = None,
            Ok(_) => {
                self.backoff = Backoff::default();
                if let Some(lasted) = self.outage.recovered(Instant::now()) {
                    info!(outage_s = lasted.as_secs(), "PostgreSQL answers queries again; replay resumed");
                }
            }
        }
        result
    }

    pub(super) fn log_outage(&mut self, error: &StoreError) {
        let reason = error.to_string();
        if self.outage.failed(&reason, Instant::now()) {
            warn!(error = reason, "replay waits for PostgreSQL");
        }
    }

    /// # Errors
    ///
    /// As of [`Database::connect`].
    pub(super) async fn session(&mut self) -> Result<&Session, StoreError> {
        let session = match self.session.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => {
                let session = self.database.connect().await?;
                if self.reads_pages {
                    ReplayRows::prepare(&session).await?;
                }
                session
            }
        };
        Ok(self.session.insert(session))
    }
}
