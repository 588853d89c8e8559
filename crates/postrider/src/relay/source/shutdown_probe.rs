//! Detects that the PostgreSQL server shuts down.

use outbox_store::Database;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Keeps an idle connection, whose end shows that the server shuts down.
///
/// A fast shutdown ends ordinary connections first and then waits until every walsender's client has confirmed all
/// WAL (PostgreSQL documentation, "Shutting Down the Server"). By then events in flight can no longer be written
/// back, so they would never be confirmed and the server would wait for ever. The relay therefore closes its
/// replication connection.
pub(crate) struct ShutdownProbe {
    closed: watch::Receiver<Option<Instant>>,
    task: JoinHandle<()>,
}

const RETRY_AFTER: Duration = Duration::from_secs(1);

impl ShutdownProbe {
    pub(crate) fn start(database: Database) -> Self {
        let (report, closed) = watch::channel(None);
        let task = tokio::spawn(async move {
            loop {
                match database.connect().await {
                    Ok(session) => {
                        let _ = report.send(None);
                        session.closed().await;
                    }
                    Err(error) => {
                        let _ = report.send(error.is_server_closed().then(Instant::now));
                        sleep(RETRY_AFTER).await;
                    }
                }
            }
        });
        ShutdownProbe { closed, task }
    }

    /// When the server last rejected a connection because it shuts down; `None` while it accepts connections.
    pub(crate) fn closed(&self) -> Option<Instant> {
        *self.closed.borrow()
    }
}

impl Drop for ShutdownProbe {
    fn drop(&mut self) {
        self.task.abort();
    }
}
