//! Noticing that the server wants to shut down.

use std::time::Duration;

use outbox_store::{Tls, connect};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Keeps an idle connection, by whose end the server tells that it shuts down.
///
/// A server that shuts down ends its ordinary connections first, and then waits until every replication
/// connection has confirmed all of the log (PostgreSQL documentation, "Shutting Down the Server"). What is in
/// flight can then no longer be written back, so it would never be confirmed, and the two would wait for each
/// other for ever. The replication connection has to give way.
pub(super) struct ServerWatch {
    closed: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

/// The watch matters only while the replication connection is up, and then a server is there to answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl ServerWatch {
    pub(super) fn start(postgres: tokio_postgres::Config, tls: Tls) -> Self {
        let (tell, closed) = watch::channel(false);
        let task = tokio::spawn(async move {
            loop {
                match connect(&postgres, &tls).await {
                    Ok(session) => {
                        let _ = tell.send(false);
                        session.closed().await;
                    }
                    Err(error) => {
                        let _ = tell.send(error.is_server_closed());
                        sleep(RETRY_AFTER).await;
                    }
                }
            }
        });
        ServerWatch { closed, task }
    }

    /// Whether the server took no connections when it was last asked.
    pub(super) fn is_server_closed(&self) -> bool {
        *self.closed.borrow()
    }
}

impl Drop for ServerWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
