//! Rows that wait, page by page.

use outbox::CreatedRange;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::session::Session;
use crate::record_position::record_position;
use crate::stuck_rows::filter::StuckRowFilter;
use crate::stuck_rows::rows::StuckRow;
use crate::stuck_rows::rows::StuckRows;
use crate::stuck_rows::sql::{Sql, Time, micros};

/// Rows, and when the database was asked for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StuckPage {
    /// The rows, in the order of their creation, then of their ids.
    pub rows: Vec<StuckRow>,
    /// The database's clock, in microseconds since 1970-01-01 UTC.
    pub now_us: i64,
}

/// Rows, page by page, in the order of their creation. It has an end while rows are inserted.
#[derive(Debug)]
pub struct StuckRowCursor<'a> {
    sql: &'a Sql,
    condition: String,
    /// Any `created_at`, NULL included, so rows inserted during the scan are among them.
    unbounded: bool,
    rows_max: u16,
    stage: Stage,
    after: Option<Key>,
    /// The last row there was when an unbounded stage began.
    last: Option<Key>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// By `created_at` and id, which is an index.
    Dated,
    /// By id: rows without a `created_at`.
    Undated,
    Done,
}

/// A place in the order of a stage: [`Time::key`], or 0, and the id.
type Key = (i64, Uuid);

impl StuckRows {
    /// The rows, in pages of at most `rows_max`. With `partitions`, only those that say they are in one of these;
    /// `None` among them is for rows without a position.
    pub fn pages(
        &self,
        of: &StuckRowFilter,
        partitions: Option<&[Option<(String, i32)>]>,
        rows_max: u16,
    ) -> StuckRowCursor<'_> {
        let mut condition = self.sql.condition(of);
        if let Some(partitions) = partitions {
            condition = format!("{condition} and {}", self.sql.is_in(partitions));
        }
        StuckRowCursor {
            sql: &self.sql,
            condition,
            unbounded: of.created == CreatedRange::of(None),
            rows_max: rows_max.max(1),
            stage: if self.sql.created_at.is_some() { Stage::Dated } else { Stage::Undated },
            after: None,
            last: None,
        }
    }
}

impl StuckRowCursor<'_> {
    /// The next page; `None` after the last.
    ///
    /// # Errors
    ///
    /// As of any query; then the same page can be asked for again.
    pub async fn next(&mut self, session: &Session) -> Result<Option<StuckPage>, StoreError> {
        while self.stage != Stage::Done {
            if self.unbounded && self.last.is_none() {
                self.last = self.last(session).await?;
                if self.last.is_none() {
                    self.end_stage();
                    continue;
                }
            }
            let page = self.page(session).await?;
            if !page.rows.is_empty() {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    async fn page(&mut self, session: &Session) -> Result<StuckPage, StoreError> {
        let Sql { table, id, attempts, last_attempt_at, topic, partition, offset, placed, .. } = self.sql;
        let (key, order, stage) = (self.key(), self.order(), self.stage_condition());
        let (created, attempted, now) =
            (self.sql.created_us(), micros(last_attempt_at), micros("statement_timestamp()"));
        let beyond = |sign: &str, key: Option<Key>| {
            key.map_or(String::new(), |key| format!(" and ({order}) {sign} {}", self.literal(key)))
        };
        let sql = format!(
            "select {id}, {created}, coalesce({attempts}::int4, 0),
                case when isfinite({last_attempt_at}) then {attempted} end,
                case when {placed} then {topic}::text end, {partition}::int4, {offset}::int8, {key}, {now}
             from {table} o
             where {condition} and {stage}{after}{last}
             order by {order} limit {rows_max}",
            condition = self.condition,
            after = beyond(">", self.after),
            last = beyond("<=", self.last),
            rows_max = self.rows_max,
        );
        let doing = || format!("looking for stuck rows in {table}");
        let found = session.client().query(&sql, &[]).await.map_err(StoreError::postgres(doing()))?;
        if let Some(last) = found.last() {
            self.after = Some((last.get(7), last.get(0)));
        }
        if found.len() < usize::from(self.rows_max) {
            self.end_stage();
        }
        let now_us = found.first().map_or(0, |row| row.get(8));
        Ok(StuckPage { rows: found.iter().map(stuck_row).collect(), now_us })
    }

    /// The last row of the stage, in any state.
    async fn last(&self, session: &Session) -> Result<Option<Key>, StoreError> {
        let Sql { table, id, .. } = self.sql;
        let (key, stage) = (self.key(), self.stage_condition());
        let order = match self.time() {
            Some(Time { column, .. }) => format!("{column} desc, {id} desc"),
            None => format!("{id} desc"),
        };
        let sql = format!("select {key}, {id} from {table} o where {stage} order by {order} limit 1");
        let doing = || format!("looking for the newest row of {table}");
        let row = session.client().query_opt(&sql, &[]).await.map_err(StoreError::postgres(doing()))?;
        Ok(row.map(|row| (row.get(0), row.get(1))))
    }

    fn end_stage(&mut self) {
        let more = self.stage == Stage::Dated && self.unbounded;
        self.stage = if more { Stage::Undated } else { Stage::Done };
        (self.after, self.last) = (None, None);
    }

    /// The time by which the stage is in order.
    fn time(&self) -> Option<&Time> {
        self.sql.created_at.as_ref().filter(|_| self.stage == Stage::Dated)
    }

    fn stage_condition(&self) -> String {
        match &self.sql.created_at {
            None => "true".to_owned(),
            Some(Time { column, .. }) if self.stage == Stage::Dated => format!("{column} is not null"),
            Some(Time { column, .. }) => format!("{column} is null"),
        }
    }

    fn key(&self) -> String {
        self.time().map_or("0::int8".to_owned(), Time::key)
    }

    fn order(&self) -> String {
        let Sql { id, .. } = self.sql;
        self.time().map_or(id.clone(), |Time { column, .. }| format!("{column}, {id}"))
    }

    fn literal(&self, (key, id): Key) -> String {
        match self.time() {
            Some(time) => format!("({}, '{id}'::uuid)", time.literal(key)),
            None => format!("'{id}'::uuid"),
        }
    }
}

fn stuck_row(row: &Row) -> StuckRow {
    StuckRow {
        id: row.get(0),
        created_at_us: row.get(1),
        attempts: row.get::<_, i32>(2).try_into().unwrap_or(0),
        last_attempt_at_us: row.get(3),
        place: record_position(row, 4),
    }
}
