//! The rows of a replay, page by page and then one by one.

use outbox::Status;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote::identifier;
use crate::connection::session::Session;
use crate::event_rows::{EventRows, StoredRow};
use crate::replay::selection::{Clock, Conditions, microseconds};
use crate::replay::selection::{RowKey, Selection};

// Rows are found in the order of their index and through the primary key, however little the planner knows of the
// table; a plan that sorts would read all that is left of a large one for every page.
const SETTINGS: &str = "
set enable_seqscan = off;
set enable_bitmapscan = off;
set enable_hashjoin = off;
set enable_mergejoin = off;
set enable_sort = off;
set jit = off;
";

/// A row that is meant, before its values are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayKey {
    /// Its place in the order.
    pub row: RowKey,
    /// Whether it says INIT: it may still be on its way.
    pub is_init: bool,
    /// What its payload takes in the table; in memory it is more where the table compresses it.
    pub payload_bytes: u64,
}

/// A row whose turn it is.
#[derive(Clone, Debug)]
pub struct ReplayRow {
    /// Which of the ids that were asked for it is.
    pub index: usize,
    /// The row as it stands.
    pub row: StoredRow,
    /// Whether it is none to send: its state is not, or not any more, one that is asked for, or it waits in line
    /// behind another row of its key.
    pub is_passed: bool,
}

/// Reads the rows of one request, in their order: by time and then by id, those without a time last.
/// Keys come first and values later, so that a caller can read as many values at a time as it has room for.
#[derive(Debug)]
pub struct ReplayRows {
    names: Names,
    selection: Selection,
    requested_us: i64,
    clock: Clock,
    rows: EventRows,
    /// The last of the rows without a time when the first of them was read; new ones come in all the time.
    undated_last: Option<Option<Uuid>>,
}

impl ReplayRows {
    /// Looks at the table's columns, and makes the session one for reading this way.
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
            clock: Clock::of_table(session, names).await?,
            rows: EventRows::new(session, names).await?,
            undated_last: None,
        })
    }

    /// Makes a session one whose queries go by the indexes.
    ///
    /// # Errors
    ///
    /// As of any query.
    pub async fn prepare(session: &Session) -> Result<(), StoreError> {
        session.run(SETTINGS, "preparing to read the rows of a replay").await
    }

    /// The keys of the next rows behind `after`, `rows_max` at most; fewer only at the end. They are in memory.
    ///
    /// # Errors
    ///
    /// As of any query; to ask again is safe.
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
            let behind = after.map(|after| {
                format!(
                    "({}, o.{}) > ({}, '{}'::uuid)",
                    self.conditions().created_at(),
                    identifier(&self.names.columns.id),
                    self.clock.time(after.created_at_us.unwrap_or(i64::MIN)),
                    after.id
                )
            });
            keys = self.page(session, &condition, behind, rows_max).await?;
        }
        if keys.len() < rows_max
            && let Some(condition) = self.conditions().undated()
        {
            let Some(last) = self.undated_last(session).await? else { return Ok(keys) };
            let id = identifier(&self.names.columns.id);
            let mut behind = format!("o.{id} <= '{last}'::uuid");
            if let Some(after) = after.filter(|after| after.created_at_us.is_none()) {
                behind.push_str(&format!(" and o.{id} > '{}'::uuid", after.id));
            }
            keys.extend(self.page(session, &condition, Some(behind), rows_max - keys.len()).await?);
        }
        Ok(keys)
    }

    /// How many rows are meant in all.
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

    /// The rows of these ids as they stand now, in this order. One that is gone is left out. They are in memory, all
    /// at once.
    ///
    /// # Errors
    ///
    /// As of any query; to ask again is safe.
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
        behind: Option<String>,
        rows_max: usize,
    ) -> Result<Vec<ReplayKey>, StoreError> {
        let rows = session
            .client()
            .query(&self.page_sql(condition, behind, rows_max), &[])
            .await
            .map_err(StoreError::postgres(self.doing("looking for the rows to replay of")))?;
        let key = |row: &Row| ReplayKey {
            row: RowKey { created_at_us: row.get(1), id: row.get(0) },
            is_init: row.get::<_, Option<&str>>(2).and_then(|text| text.parse().ok()) == Some(Status::Init),
            payload_bytes: row.get::<_, Option<i32>>(3).map_or(0, |bytes| u64::from(bytes.unsigned_abs())),
        };
        Ok(rows.iter().map(key).collect())
    }

    fn page_sql(&self, condition: &str, behind: Option<String>, rows_max: usize) -> String {
        let conditions = self.conditions();
        let time = match self.clock {
            Clock::Absent => "null::int8".to_owned(),
            Clock::Zoned | Clock::Naive => microseconds(&conditions.created_at()),
        };
        format!(
            "select o.{id}, {time}, o.{status}::text, pg_column_size(o.{payload})
             from {from} where {condition}{behind} order by {order} limit {rows_max}",
            id = identifier(&self.names.columns.id),
            status = identifier(&self.names.columns.status),
            payload = identifier(&self.names.columns.payload),
            from = conditions.from(),
            behind = behind.map_or_else(String::new, |behind| format!(" and {behind}")),
            order = conditions.order(),
        )
    }

    // The order of the ordinality is the order of the scan, so nothing is sorted.
    fn read_sql(&self) -> String {
        let conditions = self.conditions();
        format!(
            "select {list}, k.n, not coalesce({fits}, false) or {waits}
             from unnest($1::uuid[]) with ordinality as k (id, n) join {from} on o.{id} = k.id order by k.n",
            list = self.rows.list(),
            fits = conditions.status().unwrap_or_else(|| "true".to_owned()),
            waits = conditions.waits(),
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
        let of = match self.clock {
            Clock::Absent => "true".to_owned(),
            Clock::Zoned | Clock::Naive => format!("{} is null", conditions.created_at()),
        };
        let sql = format!("select o.{id} from {} where {of} order by o.{id} desc limit 1", conditions.from());
        let doing = self.doing("looking for rows without a time in");
        let row = session.client().query_opt(&sql, &[]).await.map_err(StoreError::postgres(doing))?;
        let last = row.map(|row| row.get(0));
        self.undated_last = Some(last);
        Ok(last)
    }

    fn conditions(&self) -> Conditions<'_> {
        Conditions {
            names: &self.names,
            clock: self.clock,
            selection: &self.selection,
            requested_us: Some(self.requested_us),
        }
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} {}", self.names.table)
    }
}

/// Whether any row is meant by what is not requested yet.
///
/// # Errors
///
/// As of any query.
pub async fn is_anything_selected(
    session: &Session,
    names: &Names,
    selection: &Selection,
) -> Result<bool, StoreError> {
    let clock = Clock::of_table(session, names).await?;
    let conditions = Conditions { names, clock, selection, requested_us: None };
    // One after the other, so that each goes by its index.
    for condition in [conditions.dated(), conditions.undated()].into_iter().flatten() {
        let sql = format!("select exists (select from {} where {condition})", conditions.from());
        let doing = format!("looking for rows to replay in {}", names.table);
        let row = session.client().query_one(&sql, &[]).await.map_err(StoreError::postgres(doing))?;
        if row.get(0) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the table keeps the time at which a row was made.
///
/// # Errors
///
/// As of any query.
pub async fn has_created_at(session: &Session, names: &Names) -> Result<bool, StoreError> {
    Ok(Clock::of_table(session, names).await? != Clock::Absent)
}
