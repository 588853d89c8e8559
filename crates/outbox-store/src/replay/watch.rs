use tokio::sync::mpsc;
use tokio_postgres::config::Config;
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::session::connect_listening;
use crate::connection::session::{Session, Tls};
use crate::replay::requests::{REPLAY_CHANNEL, ReplayRequest, replay_request};

/// Hears of a request's changes, on a connection of its own.
#[derive(Debug)]
pub struct ReplayWatch {
    session: Session,
    changes: mpsc::Receiver<String>,
    id: Uuid,
}

impl ReplayWatch {
    /// Begins to listen: no change after it is missed.
    ///
    /// # Errors
    ///
    /// As of [`connect`](crate::connect).
    pub async fn new(config: &Config, tls: &Tls, id: Uuid) -> Result<ReplayWatch, StoreError> {
        let (session, changes) = connect_listening(config, tls, REPLAY_CHANNEL).await?;
        Ok(ReplayWatch { session, changes, id })
    }

    /// The request as it stands; `None` where it is gone.
    ///
    /// # Errors
    ///
    /// As of any query.
    pub async fn request(&self) -> Result<Option<ReplayRequest>, StoreError> {
        replay_request(&self.session, self.id).await
    }

    /// Waits until the request has changed, or the connection is gone. Cancel-safe.
    pub async fn changed(&mut self) {
        let id = self.id.to_string();
        while let Some(changed) = self.changes.recv().await {
            if changed == id {
                // Of several changes only the last is of interest.
                while self.changes.try_recv().is_ok() {}
                return;
            }
        }
    }
}
