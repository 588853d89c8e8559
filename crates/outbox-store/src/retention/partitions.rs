//! The months of a partitioned table: making those to come, dropping those that are over and done.

use outbox::TableName;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote::{identifier, literal, table};
use crate::connection::session::Session;
use crate::retention::month::{Month, default_partition};
use crate::retention::pass::{Mark, Retention};
use crate::setup::catalog::CatalogPartition;
use crate::setup::inspect::partitions;
use crate::setup::preflight::problem::Problem;

// While a statement waits for its lock on the table, whatever comes after it waits too: the services' inserts.
const LOCK: &str = "set local lock_timeout = '1s'";

// This month and the two that follow. If `init` is run by hand, because the relay's role does not own the table, there is a month
// to do it in. The month before would be for backdated rows alone, which the default partition takes.
const MONTHS: usize = 3;

/// The months that are to have a partition in this one.
pub(crate) fn months_ahead(now: Month) -> impl Iterator<Item = Month> {
    std::iter::successors(Some(now), |month| Some(month.next())).take(MONTHS)
}

/// Those that have none. Partitions of another make than `init`'s are their maker's business.
pub(crate) fn missing_months(partitions: &[CatalogPartition], now: Month) -> Vec<Month> {
    let has = |month| partitions.iter().any(|partition| partition.month == Some(month));
    if partitions.iter().all(|partition| partition.month.is_none()) {
        return Vec::new();
    }
    months_ahead(now).filter(|month| !has(*month)).collect()
}

/// What came of making the partitions of the months to come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// Partitions that were made.
    pub made: Vec<TableName>,
    /// What prevents others. Until then rows of their months go to the default partition.
    pub problems: Vec<Problem>,
    /// Whether the table was locked for too long; to be tried again.
    pub locked: bool,
}

/// Makes the partitions of the months to come that are missing, if the table has partitions of `init`'s make.
///
/// # Errors
///
/// As of any statement.
pub async fn keep_ahead(session: &Session, names: &Names) -> Result<Ahead, StoreError> {
    const NOW: &str = "
        select (extract(year from now() at time zone 'UTC') * 12 + extract(month from now() at time zone 'UTC'))::int4 - 1,
               current_user::text";
    let root = &names.table;
    let doing = format!("making the next partitions of {root}");
    let found = partitions(session, names).await?;
    let row = session.client().query_one(NOW, &[]).await.map_err(StoreError::postgres(&*doing))?;
    let role: String = row.get(1);
    let mut ahead = Ahead::default();
    for month in missing_months(&found, Month::from_number(row.get(0))) {
        let partition = month.partition(root);
        let made = session.run(&format!("{LOCK};\n{}", month.create_sql(root)), &doing).await;
        let error = match made {
            Ok(()) => {
                ahead.made.push(partition);
                continue;
            }
            Err(error) => error,
        };
        let remedy = match error.code() {
            Some("55P03" | "40P01") => {
                ahead.locked = true;
                continue;
            }
            Some("23514") => move_sql(month, names, &found),
            Some("42P07") => format!("something else bears the name {partition}; rename it"),
            Some("42501") => format!(
                "run `postrider init` as the owner of {root} once a month, or ALTER TABLE {table} OWNER TO {role} and \
                 GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}",
                table = table(root),
                schema = identifier(&root.schema),
                role = identifier(&role)
            ),
            _ => return Err(error),
        };
        ahead.problems.push(Problem::new(
            format!("partition {partition} cannot be made, so rows of its month go to the default partition"),
            remedy,
        ));
    }
    Ok(ahead)
}

/// Takes a month's rows out of the default partition. They are put into a table that is not published yet, or
/// they would be published again.
fn move_sql(month: Month, names: &Names, found: &[CatalogPartition]) -> String {
    let (root, created_at) = (&names.table, identifier(&names.columns.created_at));
    let default = found.iter().find(|partition| partition.default).map(|partition| partition.name.clone());
    let default = table(&default.unwrap_or_else(|| default_partition(root)));
    let (partition, root_quoted) = (table(&month.partition(root)), table(root));
    format!(
        "the default partition holds rows of that month. To move them: BEGIN; LOCK TABLE {root_quoted}; \
         CREATE TABLE {partition} (LIKE {root_quoted} INCLUDING ALL) WITH (fillfactor = 50); \
         WITH moved AS (DELETE FROM {default} WHERE {created_at} >= '{start}' AND {created_at} < '{end}' \
         RETURNING *) INSERT INTO {partition} SELECT * FROM moved; \
         ALTER TABLE {root_quoted} ATTACH PARTITION {partition} {bound}; COMMIT",
        start = month.start(),
        end = month.next().start(),
        bound = month.bound().to_uppercase()
    )
}

/// What became of a partition whose month is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// It is gone.
    Dropped,
    /// It holds rows that are not COMPLETE, or not for long enough, and stays whole: where a month goes at once, to
    /// delete its rows one by one would gain nothing but bloat.
    Kept,
    /// The table is in use; retried later.
    Locked,
}

impl Retention<'_> {
    /// The tables whose old rows are deleted one by one: of a partitioned table those partitions that do not
    /// hold a month, such as the default one; else the table itself.
    ///
    /// # Errors
    ///
    /// As of any query.
    pub async fn swept_tables(&self) -> Result<Vec<TableName>, StoreError> {
        let found = partitions(&self.session, self.names).await?;
        if found.iter().all(|partition| partition.month.is_none()) {
            return Ok(vec![self.names.table.clone()]);
        }
        let others = found.into_iter().filter(|partition| partition.month.is_none() && partition.kind != "f");
        Ok(others.map(|partition| partition.name).collect())
    }

    /// The partitions of months that ended before the cutoff, and what an interrupted pass has detached.
    ///
    /// # Errors
    ///
    /// As of any query.
    pub async fn expired(&self, mark: &Mark) -> Result<Vec<Month>, StoreError> {
        let found = partitions(&self.session, self.names).await?;
        let months =
            found.iter().filter(|partition| partition.kind == "r").filter_map(|partition| partition.month);
        let mut expired: Vec<Month> = months.filter(|month| *month < mark.month).collect();
        expired.extend(self.detached().await?);
        expired.sort_unstable();
        Ok(expired)
    }

    /// Drops a month's partition if all of its rows are COMPLETE and old.
    ///
    /// To read a month takes longer than services can wait, and detaching a partition blocks all sessions that use
    /// the table (DETACH CONCURRENTLY does not, but PostgreSQL refuses it where there is a default partition:
    /// documentation, "ALTER TABLE"). So the partition is read first, then detached in a transaction of
    /// milliseconds, and read again once no session can reach it, to find what was inserted in between. If nothing
    /// did it is dropped, else attached again. It is marked, so that a pass that is interrupted is continued.
    ///
    /// # Errors
    ///
    /// As of any statement; definite where the role does not own the table.
    pub async fn drop_month(&self, month: Month, mark: &Mark) -> Result<Expired, StoreError> {
        let done = self.try_to_drop(month, mark).await;
        if done.is_err() {
            self.session.run("rollback", "giving up on a partition").await?;
        }
        match done {
            Err(error) if matches!(error.code(), Some("55P03" | "40P01")) => Ok(Expired::Locked),
            Err(error) if error.code() == Some("42501") => Err(error.with_remedy(format!(
                "let the role own {}, or unset retention.complete_after",
                table(&self.names.table)
            ))),
            done => done,
        }
    }

    async fn try_to_drop(&self, month: Month, mark: &Mark) -> Result<Expired, StoreError> {
        let partition = month.partition(&self.names.table);
        let (quoted, root) = (table(&partition), table(&self.names.table));
        if !self.detached().await?.contains(&month) {
            if !self.is_all_old(&partition, mark).await? {
                return Ok(Expired::Kept);
            }
            let marker = literal(&self.marker());
            self.session
                .run(
                    &format!("{LOCK}; alter table {root} detach partition {quoted}; comment on table {quoted} is {marker}"),
                    &format!("detaching partition {partition}"),
                )
                .await?;
        }
        let doing = format!("dropping {partition}, which is detached");
        self.session
            .run(&format!("begin; {LOCK}; lock table only {quoted} in access exclusive mode"), &doing)
            .await?;
        if self.is_all_old(&partition, mark).await? {
            self.session.run(&format!("drop table {quoted}; commit"), &doing).await?;
            return Ok(Expired::Dropped);
        }
        self.session
            .run(
                &format!(
                    "comment on table {quoted} is null; alter table {root} attach partition {quoted} {}; commit",
                    month.bound()
                ),
                &format!("attaching {partition} again, which has got rows that are not to be deleted"),
            )
            .await?;
        Ok(Expired::Kept)
    }

    async fn is_all_old(&self, partition: &TableName, mark: &Mark) -> Result<bool, StoreError> {
        let columns = &self.names.columns;
        let sql = format!(
            "select not exists (
                 select from only {table}
                 where {status} is distinct from 'COMPLETE' or {completed_at} is null
                    or {completed_at} >= $1::text::timestamptz)",
            table = table(partition),
            status = identifier(&columns.status),
            completed_at = identifier(&columns.completed_at),
        );
        let doing = format!("looking whether all rows of {partition} are old");
        self.session.run("set enable_seqscan = on", &doing).await?;
        let row = self.session.client().query_one(&sql, &[&mark.cutoff]).await;
        row.map(|row| row.get(0))
            .map_err(|error| self.explained(StoreError::postgres(doing)(error), partition))
    }

    /// What a pass has detached and not dropped.
    async fn detached(&self) -> Result<Vec<Month>, StoreError> {
        const SQL: &str = "
            select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname::text = $1::text and c.relkind = 'r' and not c.relispartition
              and obj_description(c.oid, 'pg_class') = $2::text";
        let root = &self.names.table;
        let rows = self.session.client().query(SQL, &[&root.schema, &self.marker()]).await;
        let rows = rows.map_err(StoreError::postgres("looking for partitions that are detached"))?;
        Ok(rows.iter().filter_map(|row| Month::of_partition(root, row.get(0))).collect())
    }

    fn marker(&self) -> String {
        format!(
            "Detached from {} by Postrider, which drops it if all of its rows are COMPLETE.",
            self.names.table
        )
    }
}
