use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use outbox_store::{ReplayRows, Session, StoreError, connect};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::database::Database;

const PAUSE_MAX: Duration = Duration::from_secs(5);

/// An outage that lasts is told of again, so that the last lines of the log name it.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// A connection that is made when it is needed and again when it was lost.
pub(super) struct Connection {
    pub(super) database: Database,
    reads_pages: bool,
    session: Option<Session>,
    told: Option<Instant>,
    /// Of the outage under way.
    pauses: Option<ExponentialBackoff>,
}

/// Asks once: `ask_once!(connection, session => question(session))`. Closures that borrow would keep the future from
/// being spawned (rust-lang/rust issue 100013), hence macros.
macro_rules! ask_once {
    ($connection:expr, $session:ident => $question:expr) => {{
        let answer = match $connection.session().await {
            Ok($session) => $question.await,
            Err(error) => Err(error),
        };
        $connection.noted(answer)
    }};
}

/// Asks until there is an answer; whatever passes is waited out, so that every error is a definite one.
macro_rules! ask {
    ($connection:expr, $session:ident => $question:expr) => {
        loop {
            let answer = match $connection.session().await {
                Ok($session) => $question.await,
                Err(error) => Err(error),
            };
            if let Some(answer) = $connection.waited_out(answer).await {
                break answer;
            }
        }
    };
}

pub(super) use {ask, ask_once};

impl Connection {
    /// For looking things up and noting them.
    pub(super) fn new(database: Database) -> Self {
        Connection { database, reads_pages: false, session: None, told: None, pauses: None }
    }

    /// For the pages of a replay.
    pub(super) fn for_pages(database: Database) -> Self {
        Connection { reads_pages: true, ..Connection::new(database) }
    }

    /// Takes an answer in: `None` is one that passes, whose pause is over then; it is to be asked again.
    pub(super) async fn waited_out<T>(
        &mut self,
        answer: Result<T, StoreError>,
    ) -> Option<Result<T, StoreError>> {
        match self.noted(answer) {
            Err(error) if error.is_retryable() => {
                self.tell(&error);
                let pause = self.pauses.get_or_insert_with(pauses).next();
                sleep(pause.unwrap_or(PAUSE_MAX)).await;
                None
            }
            answer => Some(answer),
        }
    }

    /// Takes an answer in, which is to be asked for once only.
    pub(super) fn noted<T>(&mut self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        match &answer {
            Err(_) => self.session = None,
            Ok(_) => {
                self.pauses = None;
                if self.told.take().is_some() {
                    info!("PostgreSQL answers again, the replay goes on");
                }
            }
        }
        answer
    }

    /// Tells of an outage, now and then.
    pub(super) fn tell(&mut self, error: &StoreError) {
        if self.told.is_none_or(|told| told.elapsed() > TELL_AGAIN_AFTER) {
            warn!("replay: PostgreSQL cannot be asked: {error}; waiting");
            self.told = Some(Instant::now());
        }
    }

    /// The connection.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub(super) async fn session(&mut self) -> Result<&Session, StoreError> {
        let session = match self.session.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => {
                let session = connect(&self.database.config, &self.database.tls).await?;
                if self.reads_pages {
                    ReplayRows::prepare(&session).await?;
                }
                session
            }
        };
        Ok(self.session.insert(session))
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(PAUSE_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}
