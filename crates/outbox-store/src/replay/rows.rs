//! The rows of a replay: keys in pages first, then the rows in chunks.

use outbox::Status;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote::identifier;
use crate::connection::session::Session;
use crate::event_rows::{EventRows, StoredRow};
use crate::held::events_without_row;
use crate::replay::selection::{CreatedAtType, RowKey, Selection, SelectionSql, microseconds};

// Pages are read in index order and rows by primary key, whatever the statistics of the table: a plan with a sort would
// read the rest of the table for every page.
const SETTINGS: &str = "
set enable_seqscan = off;
set enable_bitmapscan = off;
set enable_hashjoin = off;
set enable_mergejoin = off;
set enable_sort = off;
set jit = off;
";

/// The key of a selected row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayKey {
    /// Its position in the order.
    pub row: RowKey,
    /// Whether it is INIT: it may be ahead in the WAL, or in flight.
    pub is_init: bool,
    /// The stored size of its payload; in memory a compressed one is larger.
    pub payload_bytes: u64,
}

/// A selected row.
#[derive(Clone, Debug)]
pub struct ReplayRow {
    /// Its index in the ids that were read.
    pub index: usize,
    /// The row as it is now.
    pub row: StoredRow,
    /// Whether it is passed over: its state is no longer selected, or it is held behind another row of its key.
    pub is_passed: bool,
}

/// Reads the rows of one request in the order of `created_at` and `id`, with NULL last. Keys and rows are read
/// separately, so that the caller decides how many rows are in memory.
#[derive(Debug)]
pub struct ReplayRows {
    names: Names,
    selection: Selection,
    requested_us: i64,
    created_at_type: CreatedAtType,
    rows: EventRows,
    /// The last row without `created_at` when the first of them was read: rows inserted later are not selected.
    undated_last: Option<Option<Uuid>>,
}

impl ReplayRows {
    /// Reads the column types of the table.
    ///
    /// # Errors
    ///
    /// As of any query.
    pub async fn new(
        session: &Session,
        names: &Names,
        selection: &Selection,
        requested_us: i64,
    ) -> Result<ReplayRows, StoreError> {
        Ok(ReplayRows {
            names: names.clone(),
            selection: selection.clone(),
            requested_us,
            created_at_type: CreatedAtType::of_table(session, names).await?,
            rows: EventRows::new(session, names).await?,
            undated_last: None,
        })
    }

    /// Sets planner options of a session so that its queries use the indexes.
    ///
    /// # Errors
    ///
    /// As of any query.
    pub async fn prepare(session: &Session) -> Result<(), StoreError> {
        session.run(SETTINGS, "preparing a session for a replay").await
    }

    /// The keys of the next rows after `after`: `rows_max`, or fewer at the end.
    ///
    /// # Errors
    ///
    /// As of any query; retrying is safe.
    pub async fn keys(
        &mut self,
        session: &Session,
        after: Option<RowKey>,
        rows_max: usize,
    ) -> Result<Vec<ReplayKey>, StoreError> {
        let mut keys = Vec::new();
        if after.is_none_or(|after| after.created_at_us.is_some())
            && let Some(condition) = self.conditions().dated()
        {
            let bound = after.map(|after| {
                format!(
                    "({}, o.{}) > ({}, '{}'::uuid)",
                    self.conditions().created_at(),
                    identifier(&self.names.columns.id),
                    self.created_at_type.time(after.created_at_us.unwrap_or(i64::MIN)),
                    after.id
                )
            });
            keys = self.page(session, &condition, bound, rows_max).await?;
        }
        if keys.len() < rows_max
            && let Some(condition) = self.conditions().undated()
        {
            let Some(last) = self.undated_last(session).await? else { return Ok(keys) };
            let id = identifier(&self.names.columns.id);
            let mut bound = format!("o.{id} <= '{last}'::uuid");
            if let Some(after) = after.filter(|after| after.created_at_us.is_none()) {
                bound.push_str(&format!(" and o.{id} > '{}'::uuid", after.id));
            }
            keys.extend(self.page(session, &condition, Some(bound), rows_max - keys.len()).await?);
        }
        Ok(keys)
    }

    /// The number of selected rows.
    ///
    /// # Errors
    ///
    /// As of any query.
    pub async fn count(&self, session: &Session) -> Result<u64, StoreError> {
        let conditions = self.conditions();
        let limit = self.selection.rows_max.map_or_else(String::new, |rows| format!(" limit {rows}"));
        let sql = format!(
            "select count(*) from (select from {} where {}{limit}) as o",
            conditions.from(),
            conditions.all()
        );
        let row = session
            .client()
            .query_one(&sql, &[])
            .await
            .map_err(StoreError::postgres(self.doing("counting the rows to replay of")))?;
        Ok(row.get::<_, i64>(0).unsigned_abs())
    }

    /// The rows with these ids as they are now, in this order, without those that were deleted.
    ///
    /// # Errors
    ///
    /// As of any query; retrying is safe.
    pub async fn read(&self, session: &Session, ids: &[Uuid]) -> Result<Vec<ReplayRow>, StoreError> {
        let rows = session
            .client()
            .query(&self.read_sql(), &[&ids])
            .await
            .map_err(StoreError::postgres(self.doing("reading the rows to replay of")))?;
        let own = self.rows.len();
        let read = |row: &Row| ReplayRow {
            index: usize::try_from(row.get::<_, i64>(own) - 1).unwrap_or(usize::MAX),
            row: self.rows.read(row),
            is_passed: row.get(own + 1),
        };
        Ok(rows.iter().map(read).collect())
    }

    async fn page(
        &self,
        session: &Session,
        condition: &str,
        bound: Option<String>,
        rows_max: usize,
    ) -> Result<Vec<ReplayKey>, StoreError> {
        let rows = session
            .client()
            .query(&self.page_sql(condition, bound, rows_max), &[])
            .await
            .map_err(StoreError::postgres(self.doing("reading the keys of the rows to replay of")))?;
        let key = |row: &Row| ReplayKey {
            row: RowKey { created_at_us: row.get(1), id: row.get(0) },
            is_init: row.get::<_, Option<&str>>(2).and_then(|text| text.parse().ok()) == Some(Status::Init),
            payload_bytes: row.get::<_, Option<i32>>(3).map_or(0, |bytes| u64::from(bytes.unsigned_abs())),
        };
        Ok(rows.iter().map(key).collect())
    }

    fn page_sql(&self, condition: &str, bound: Option<String>, rows_max: usize) -> String {
        let conditions = self.conditions();
        let time = match self.created_at_type {
            CreatedAtType::Absent => "null::int8".to_owned(),
            CreatedAtType::Zoned | CreatedAtType::Naive => microseconds(&conditions.created_at()),
        };
        format!(
            "select o.{id}, {time}, o.{status}::text, pg_column_size(o.{payload})
             from {from} where {condition}{bound} order by {order} limit {rows_max}",
            id = identifier(&self.names.columns.id),
            status = identifier(&self.names.columns.status),
            payload = identifier(&self.names.columns.payload),
            from = conditions.from(),
            bound = bound.map_or_else(String::new, |bound| format!(" and {bound}")),
            order = conditions.order(),
        )
    }

    // The scan is in the order of the ordinality, so nothing is sorted.
    fn read_sql(&self) -> String {
        let conditions = self.conditions();
        format!(
            "select {list}, k.n, not coalesce({fits}, false) or {is_held}
             from unnest($1::uuid[]) with ordinality as k (id, n) join {from} on o.{id} = k.id order by k.n",
            list = self.rows.list(),
            fits = conditions.status().unwrap_or_else(|| "true".to_owned()),
            is_held = conditions.is_held(),
            from = conditions.from(),
            id = identifier(&self.names.columns.id),
        )
    }

    async fn undated_last(&mut self, session: &Session) -> Result<Option<Uuid>, StoreError> {
        if let Some(last) = self.undated_last {
            return Ok(last);
        }
        let id = identifier(&self.names.columns.id);
        let conditions = self.conditions();
        let of = match self.created_at_type {
            CreatedAtType::Absent => "true".to_owned(),
            CreatedAtType::Zoned | CreatedAtType::Naive => format!("{} is null", conditions.created_at()),
        };
        let sql = format!("select o.{id} from {} where {of} order by o.{id} desc limit 1", conditions.from());
        let doing = self.doing("reading the rows without created_at of");
        let row = session.client().query_opt(&sql, &[]).await.map_err(StoreError::postgres(doing))?;
        let last = row.map(|row| row.get(0));
        self.undated_last = Some(last);
        Ok(last)
    }

    fn conditions(&self) -> SelectionSql<'_> {
        SelectionSql {
            names: &self.names,
            created_at_type: self.created_at_type,
            selection: &self.selection,
            requested_us: Some(self.requested_us),
        }
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} {}", self.names.table)
    }
}

/// Whether a selection matches any row now.
///
/// # Errors
///
/// As of any query.
pub async fn is_anything_selected(
    session: &Session,
    names: &Names,
    selection: &Selection,
) -> Result<bool, StoreError> {
    let created_at_type = CreatedAtType::of_table(session, names).await?;
    let conditions = SelectionSql { names, created_at_type, selection, requested_us: None };
    // Separately, so that each query uses its index.
    for condition in [conditions.dated(), conditions.undated()].into_iter().flatten() {
        let sql = format!("select exists (select from {} where {condition})", conditions.from());
        let doing = format!("checking for rows to replay in {}", names.table);
        let row = session.client().query_one(&sql, &[]).await.map_err(StoreError::postgres(doing))?;
        if row.get(0) {
            return Ok(true);
        }
    }
    if selection.ids.is_empty() {
        return Ok(false);
    }
    match events_without_row(session, names, &selection.ids).await {
        Ok(events) => Ok(!events.is_empty()),
        // A role that may request replays need not read postrider.held.
        Err(error) if error.code() == Some("42501") => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the table has a `created_at` column.
///
/// # Errors
///
/// As of any query.
pub async fn has_created_at(session: &Session, names: &Names) -> Result<bool, StoreError> {
    Ok(CreatedAtType::of_table(session, names).await? != CreatedAtType::Absent)
}
