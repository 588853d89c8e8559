//! Noticing that the server wants to shut down.

use std::time::Duration;

use outbox_store::{Tls, connect};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Keeps an idle connection, by whose end the server tells that it shuts down.
///
/// A server that shuts down ends its ordinary connections first, and then waits until every replication
/// connection has confirmed all of the log (PostgreSQL documentation, "Shutting Down the Server"). What is in
/// flight can then no longer be written back, so it would never be confirmed, and the two would wait for each
/// other for ever. The replication connection has to give way.
pub(crate) struct ServerWatch {
    closed: watch::Receiver<Option<Instant>>,
    task: JoinHandle<()>,
}

/// The watch matters only while the replication connection is up, and then a server is there to answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl ServerWatch {
    pub(crate) fn start(postgres: tokio_postgres::Config, tls: Tls) -> Self {
        let (tell, closed) = watch::channel(None);
        let task = tokio::spawn(async move {
            loop {
                match connect(&postgres, &tls).await {
                    Ok(session) => {
                        let _ = tell.send(None);
                        session.closed().await;
                    }
                    Err(error) => {
                        let _ = tell.send(error.is_server_closed().then(Instant::now));
                        sleep(RETRY_AFTER).await;
                    }
                }
            }
        });
        ServerWatch { closed, task }
    }

    /// When the server was last asked for a connection and took none, if so.
    pub(crate) fn closed(&self) -> Option<Instant> {
        *self.closed.borrow()
    }
}

impl Drop for ServerWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
