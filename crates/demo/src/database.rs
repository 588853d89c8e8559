//! What the demo asks the database.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio_postgres::{Client, NoTls};

use crate::proof::{Place, Row};

const ANSWER: Duration = Duration::from_secs(60);

/// The demo's own connection. Every question has a deadline.
pub(crate) struct Database(Client);

impl Database {
    pub(crate) async fn connect(url: &str) -> Result<Database> {
        let connected = tokio::time::timeout(ANSWER, tokio_postgres::connect(url, NoTls)).await;
        let (client, connection) = connected.context("PostgreSQL does not answer")??;
        // A broken connection shows in the query that waits on it.
        tokio::spawn(async move { connection.await.ok() });
        Ok(Database(client))
    }

    async fn ask(&self, question: &str) -> Result<Vec<tokio_postgres::Row>> {
        let answer = tokio::time::timeout(ANSWER, self.0.query(question, &[])).await;
        answer.context("PostgreSQL does not answer")?.with_context(|| question.to_owned())
    }

    /// Whether a relay reads the slot of this database.
    pub(crate) async fn slot_is_active(&self) -> Result<bool> {
        let slots = self
            .ask("select 1 from pg_replication_slots where database = current_database() and active")
            .await?;
        Ok(!slots.is_empty())
    }

    /// How many rows of the outbox still say INIT.
    pub(crate) async fn waiting(&self) -> Result<i64> {
        let rows = self.ask("select count(*) from public.outbox where status = 'INIT'").await?;
        Ok(rows.first().map_or(0, |row| row.get(0)))
    }

    /// The whole outbox.
    pub(crate) async fn outbox(&self) -> Result<Vec<Row>> {
        let rows = self
            .ask(
                "select id, status, kafka_topic, kafka_partition, kafka_offset, payload::text \
                 from public.outbox",
            )
            .await?;
        Ok(rows.iter().map(row).collect())
    }
}

fn row(row: &tokio_postgres::Row) -> Row {
    let place = |row: &tokio_postgres::Row| {
        Some(Place {
            topic: row.get::<_, Option<_>>(2)?,
            partition: row.get::<_, Option<_>>(3)?,
            offset: row.get::<_, Option<_>>(4)?,
        })
    };
    Row { id: row.get(0), status: row.get(1), place: place(row), payload: row.get(5) }
}
