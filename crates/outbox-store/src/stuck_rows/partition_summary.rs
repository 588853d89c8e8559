//! PUBLISH rows, summed up.

use outbox::CreatedRange;
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::session::Session;
use crate::stuck_rows::filter::StuckRowFilter;
use crate::stuck_rows::rows::StuckRows;
use crate::stuck_rows::sql::{Sql, instant};

/// PUBLISH rows, summed up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionSummary {
    /// Those that have waited for long enough, by partition.
    pub partitions: Vec<PartitionRows>,
    /// The others.
    pub not_yet_due: Vec<NotYetDue>,
}

/// The rows that say they are in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRows {
    /// The topic and the partition; `None`: rows without a position.
    pub partition: Option<(String, i32)>,
    /// How many.
    pub rows: u64,
    /// When they were created.
    pub created: CreatedRange,
    /// The lowest offset and its row.
    pub lowest: (i64, Uuid),
    /// The highest offset and its row.
    pub highest: (i64, Uuid),
}

/// Rows that have not waited for long enough, of about the same age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotYetDue {
    /// How many.
    pub rows: u64,
    /// When they were created.
    pub created: CreatedRange,
    /// For how long the youngest of them has waited, in microseconds; less than nothing where its time is ahead.
    pub waited_us: i64,
}

impl StuckRows {
    /// The rows, summed up in one query that brings none of them.
    ///
    /// With [`StuckRowFilter::waited_us`] given, those that have not waited for as long are counted apart, by ages that are
    /// rounded by `width_us`; left out are those of them that were sent at `counted_from_us` or later.
    ///
    /// # Errors
    ///
    /// As of any query.
    pub async fn partition_summary(
        &self,
        session: &Session,
        of: &StuckRowFilter,
        width_us: u64,
        counted_from_us: Option<i64>,
    ) -> Result<PartitionSummary, StoreError> {
        let sql = self.partition_summary_sql(of, width_us, counted_from_us);
        let doing = || format!("summing up the rows of {} that say {}", self.sql.table, of.status);
        let found = session.client().query(&sql, &[]).await.map_err(StoreError::postgres(doing()))?;
        let mut summary = PartitionSummary::default();
        for row in &found {
            let rows = u64::try_from(row.get::<_, i64>(2)).unwrap_or(0);
            let created = match (row.get(3), row.get(4), row.get(5)) {
                (Some(from_us), Some(to_us), false) => CreatedRange { from_us, to_us },
                _ => CreatedRange::of(None),
            };
            if row.get(9) {
                let waited_us = row.get::<_, Option<i64>>(8).unwrap_or(0);
                summary.not_yet_due.push(NotYetDue { rows, created, waited_us });
                continue;
            }
            let place = |index| row.get::<_, Option<&str>>(index).and_then(offset_and_id).unwrap_or_default();
            summary.partitions.push(PartitionRows {
                partition: row.get::<_, Option<String>>(0).zip(row.get(1)),
                rows,
                created,
                lowest: place(6),
                highest: place(7),
            });
        }
        Ok(summary)
    }

    fn partition_summary_sql(
        &self,
        of: &StuckRowFilter,
        width_us: u64,
        counted_from_us: Option<i64>,
    ) -> String {
        let Sql { table, id, topic, partition, offset, last_attempt_at, placed, .. } = &self.sql;
        let condition = self.sql.condition(&StuckRowFilter { waited_us: None, ..of.clone() });
        let not_yet_due =
            of.waited_us.map_or("false".to_owned(), |waited_us| self.sql.not_yet_due(waited_us));
        let (created, waited) = (self.sql.created_us(), self.sql.waited());
        let width = i64::try_from(width_us.max(1)).unwrap_or(i64::MAX);
        let uncounted = match counted_from_us {
            Some(us) => format!("not not_yet_due or coalesce(attempted_at < {}, true)", instant(us)),
            None => "true".to_owned(),
        };
        // A place as a text sorts by its offset, and brings its row along.
        format!(
            r#"with suspect as (
    select {created} as created, {last_attempt_at} as attempted_at, {not_yet_due} as not_yet_due, {waited} as waited,
        case when {placed} then {topic}::text end as topic,
        case when {placed} then {partition}::int4 end as "partition",
        case when {placed} then lpad({offset}::text, 19, '0') || {id}::text end collate "C" as place
    from {table} o
    where {condition}
)
select case when not not_yet_due then topic end, case when not not_yet_due then "partition" end,
    count(*), min(created), max(created), count(*) > count(created), min(place), max(place), min(waited), not_yet_due
from suspect
where {uncounted}
group by not_yet_due, 1, 2, case when not_yet_due then waited / '{width}'::int8 end"#
        )
    }
}

fn offset_and_id(place: &str) -> Option<(i64, Uuid)> {
    let (offset, id) = place.split_at_checked(19)?;
    Some((offset.parse().ok()?, id.parse().ok()?))
}
