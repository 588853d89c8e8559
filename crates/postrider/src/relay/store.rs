//! Queries of the relay outside the replication stream.

use std::collections::HashMap;

use anyhow::Result;
use outbox::{Event, OrderingKey, Status};
use outbox_store::{
    Database, EventRows, release_head, remove_failed, remove_held, statuses, waiting_events_of,
};
use uuid::Uuid;

/// Queries on a connection of their own, retried through outages. They are rare.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) database: Database,
}

impl Store {
    /// The row no longer holds its key; the key, if it held one.
    pub(super) async fn release_head(&self, id: Uuid) -> Result<Option<OrderingKey>> {
        let names = &self.database.names;
        Ok(self.database.with_retry(async |session| release_head(session, names, id).await).await?)
    }

    /// The first events that wait in a held key, in order.
    pub(super) async fn waiting_events(&self, key: &OrderingKey, events_max: usize) -> Result<Vec<Event>> {
        let names = &self.database.names;
        let rows = self.database.with_retry(async |session| {
            let columns = EventRows::new(session, names).await?;
            waiting_events_of(session, names, &columns, key, events_max).await
        });
        Ok(rows.await?)
    }

    /// These rows failed without holding their key.
    pub(super) async fn remove_failed(&self, ids: Vec<Uuid>) -> Result<()> {
        let names = &self.database.names;
        let remove = self.database.with_retry(async |session| remove_failed(session, names, &ids).await);
        Ok(remove.await?)
    }

    /// These rows no longer wait.
    pub(super) async fn remove_held(&self, ids: Vec<Uuid>) -> Result<()> {
        let names = &self.database.names;
        let remove =
            self.database.with_retry(async |session| remove_held(session, names, &ids).await.map(drop));
        Ok(remove.await?)
    }

    /// The status of each row. Rows that are gone or whose status is none of the four words are missing.
    pub(super) async fn statuses(self, ids: Vec<Uuid>) -> Result<HashMap<Uuid, Status>> {
        let names = &self.database.names;
        let found = self.database.with_retry(async |session| statuses(session, names, &ids).await).await?;
        Ok(found.into_iter().filter_map(|(id, status)| Some((id, status?))).collect())
    }
}
