use tokio::sync::mpsc;
use uuid::Uuid;

use crate::connection::database::Database;
use crate::connection::error::StoreError;
use crate::connection::session::{Session, connect_listening};
use crate::replay::read_request::replay_request;
use crate::replay::request::ReplayRequest;
use crate::replay::request_sql::REPLAY_CHANNEL;

/// Waits for changes of a request, with `LISTEN` on a connection of its own.
#[derive(Debug)]
pub struct ReplayWatch {
    session: Session,
    notifications: mpsc::Receiver<String>,
    id: Uuid,
}

impl ReplayWatch {
    /// Opens the connection. Every change after it returns is noticed.
    ///
    /// # Errors
    ///
    /// As of [`Database::connect`].
    pub async fn new(database: &Database, id: Uuid) -> Result<ReplayWatch, StoreError> {
        let (session, notifications) =
            connect_listening(&database.config, &database.tls, REPLAY_CHANNEL).await?;
        Ok(ReplayWatch { session, notifications, id })
    }

    /// Reads the request; `None` if it was deleted.
    ///
    /// # Errors
    ///
    /// As of any query.
    pub async fn request(&self) -> Result<Option<ReplayRequest>, StoreError> {
        replay_request(&self.session, self.id).await
    }

    /// Waits until the request has changed or the connection is lost. Cancel-safe.
    pub async fn changed(&mut self) {
        let id = self.id.to_string();
        while let Some(changed) = self.notifications.recv().await {
            if changed == id {
                // Only the latest of several changes counts.
                while self.notifications.try_recv().is_ok() {}
                return;
            }
        }
    }
}
