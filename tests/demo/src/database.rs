//! The demo's queries.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::proof::{Place, Row};

const ANSWER: Duration = Duration::from_secs(60);
const ROWS: &str = "select id, status, kafka_topic, kafka_partition, kafka_offset, payload::text, \
                    coalesce(attempts, 0), last_error \
                    from public.outbox";

/// The demo's own connection. Every query has a deadline.
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

    /// The number of outbox rows by state.
    pub(crate) async fn states(&self) -> Result<States> {
        let rows = self.ask("select status, count(*) from public.outbox group by status").await?;
        Ok(States(rows.iter().map(|row| (row.get(0), row.get::<_, i64>(1).unsigned_abs())).collect()))
    }

    /// The oldest rows of orders, in the order in which a replay takes them.
    pub(crate) async fn oldest_of_orders(&self, rows_max: u32) -> Result<Vec<Uuid>> {
        let rows = self
            .ask(&format!(
                "select id from public.outbox where aggregate_type = 'order' \
                 order by created_at, id limit {rows_max}"
            ))
            .await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The rows of these ids.
    pub(crate) async fn rows(&self, ids: &[Uuid]) -> Result<Vec<Row>> {
        let listed: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
        let rows = self.ask(&format!("{ROWS} where id in ({})", listed.join(", "))).await?;
        Ok(rows.iter().map(row).collect())
    }

    /// The whole outbox.
    pub(crate) async fn outbox(&self) -> Result<Vec<Row>> {
        Ok(self.ask(ROWS).await?.iter().map(row).collect())
    }
}

/// Numbers of rows by state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct States(BTreeMap<String, u64>);

impl States {
    pub(crate) fn of(&self, state: &str) -> usize {
        self.0.get(state).map_or(0, |&rows| usize::try_from(rows).unwrap_or(usize::MAX))
    }
}

impl fmt::Display for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states: Vec<String> = self.0.iter().map(|(state, rows)| format!("{rows} {state}")).collect();
        f.write_str(if states.is_empty() { "no rows" } else { "" })?;
        f.write_str(&states.join(", "))
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
    Row {
        id: row.get(0),
        status: row.get(1),
        place: place(row),
        payload: row.get(5),
        attempts: row.get(6),
        last_error: row.get(7),
    }
}
