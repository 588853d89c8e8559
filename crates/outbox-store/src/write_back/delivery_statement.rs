//! The statement that writes acknowledgements and receipts.

use tokio_postgres::{Client, Error, Row, Statement};
use uuid::Uuid;

use crate::connection::names::Names;
use crate::connection::quote::{identifier, table};
use crate::write_back::batch::Deliveries;
use crate::write_back::coalesced_update::Consumed;
use crate::write_back::column_types::WrittenColumnTypes;
use crate::write_back::outcome::{BatchOutcome, Completed};
use crate::write_back::parameters::statement_parameters;
use crate::write_back::unseen::{self, unseen_xids_sql};

statement_parameters! {
    /// The parameters of the statement. Arrays named alike have one element for each row or partition.
    struct DeliveryParameters / DeliveryPlaceholders {
        ids: Vec<Uuid> => UUID_ARRAY,
        topics: Vec<&'a str> => TEXT_ARRAY,
        partitions: Vec<Option<i32>> => INT4_ARRAY,
        offsets: Vec<Option<i64>> => INT8_ARRAY,
        /// How often each row was published again.
        resent: Vec<i16> => INT2_ARRAY,
        /// [`Consumed`] as a number.
        consumed: Vec<i16> => INT2_ARRAY,
        slot: &'a str => TEXT,
        highest_topics: Vec<&'a str> => TEXT_ARRAY,
        highest_partitions: Vec<i32> => INT4_ARRAY,
        highest_offsets: Vec<i64> => INT8_ARRAY,
        xids: Vec<i64> => INT8_ARRAY,
        bucket_width_us: i64 => INT8,
        /// How many rows of the batch were consumed.
        consumed_count: i64 => INT8,
        in_doubt: bool => BOOL,
    }
}

impl<'a> DeliveryParameters<'a> {
    pub(crate) fn of(
        deliveries: &'a Deliveries,
        xids: &[u32],
        slot: &'a str,
        bucket_width_us: i64,
        in_doubt: bool,
    ) -> Self {
        let Deliveries { rows, highest, consumed } = deliveries;
        debug_assert!(
            rows.iter().all(|row| row.published || row.resent > 0 || row.consumed != Consumed::Not)
        );
        DeliveryParameters {
            ids: rows.iter().map(|row| row.id).collect(),
            topics: rows.iter().map(|row| &*row.at.topic).collect(),
            partitions: rows.iter().map(|row| row.at.known_offset().map(|_| row.at.partition)).collect(),
            offsets: rows.iter().map(|row| row.at.known_offset()).collect(),
            resent: rows.iter().map(|row| row.resent).collect(),
            consumed: rows.iter().map(|row| row.consumed as i16).collect(),
            slot,
            highest_topics: highest.iter().map(|at| &*at.topic).collect(),
            highest_partitions: highest.iter().map(|at| at.partition).collect(),
            highest_offsets: highest.iter().map(|at| at.offset).collect(),
            xids: unseen::to_parameter(xids),
            bucket_width_us,
            consumed_count: i64::try_from(*consumed).unwrap_or(i64::MAX),
            in_doubt,
        }
    }

    /// # Errors
    ///
    /// As of any query.
    pub(crate) async fn write(&self, client: &Client, statement: &Statement) -> Result<BatchOutcome, Error> {
        client.query_one(statement, &self.values()).await.map(|row| outcome(&row))
    }
}

fn outcome(row: &Row) -> BatchOutcome {
    let completed: Option<Vec<Uuid>> = row.get("completed");
    let buckets: Vec<i64> = row.get("buckets");
    let counts: Vec<i64> = row.get("counts");
    BatchOutcome {
        at_us: row.get("at_us"),
        published: row.get::<_, i64>("published").unsigned_abs(),
        completed: completed.map_or(Completed::All, |ids| Completed::Only(ids.into_iter().collect())),
        completed_by_bucket: buckets.into_iter().zip(counts.into_iter().map(i64::unsigned_abs)).collect(),
        unseen_xids: unseen::from_answer(row.get("unseen_xids")),
    }
}

// now() is the start of the statement's transaction. That is after the row's commit record was written, or its event
// would not have been read from the WAL, so published_at is never before the created_at of the same clock.
//
// Rows that were only published, which most are, go a shorter way (plain): only INIT rows are updated for them.
//
// A row is updated only if its state or its position changes. The outcome is read from the row's new values: it is
// PUBLISH only if it was sent, and completed_at is now() only if it became COMPLETE. Then its last_attempt_at is before
// now() only if it was PUBLISH, because a row that becomes COMPLETE from INIT or FAILED gets its last_attempt_at here,
// too. Both comparisons use the precision of the columns.
//
// An attempt is counted when the row gets the position of the record, from the delivery report or from a receipt,
// whichever comes first; a receipt makes the row COMPLETE. The same position on a row in an earlier state belongs to an
// earlier record: the topic was recreated since. A row with a topic and no offset got it from a delivery report without
// an offset (a negative offset counts as none); that attempt was counted, and a receipt adds the offset. If the batch
// may have been written before (in_doubt), the rows that it published count as published now, so that they are included
// in the number of PUBLISH rows.
pub(crate) fn delivery_sql(names: &Names, types: &WrittenColumnTypes) -> String {
    let DeliveryPlaceholders {
        ids,
        topics,
        partitions,
        offsets,
        resent,
        consumed,
        slot,
        highest_topics,
        highest_partitions,
        highest_offsets,
        xids,
        bucket_width_us,
        consumed_count,
        in_doubt,
    } = DeliveryParameters::placeholders();
    let columns = &names.columns;
    let status = identifier(&columns.status);
    let kafka_topic = identifier(&columns.kafka_topic);
    let kafka_partition = identifier(&columns.kafka_partition);
    let kafka_offset = identifier(&columns.kafka_offset);
    let completes = format!(
        "b.consumed > 0 and (o.{status} in ('INIT', 'PUBLISH') or b.consumed = 2 and o.{status} = 'FAILED')"
    );
    let no_position = format!(
        "(coalesce(o.{kafka_offset}, -1) < 0 or o.{kafka_partition} is null or o.{kafka_topic} is null)"
    );
    let moves = format!("b.plain or b.resent > 0 or o.{status} = 'INIT' or {no_position}");
    let same_position = format!(
        "o.{kafka_offset} = b.\"offset\" and o.{kafka_partition} = b.\"partition\" and o.{kafka_topic} = b.topic"
    );
    let same_topic_only = format!("o.{kafka_topic} = b.topic and {no_position}");
    let same_record = format!("({same_position} or b.\"offset\" is null and {same_topic_only})");
    let rewritten = format!(
        "{in_doubt} and b.resent = 0 and b.consumed = 0 and o.{status} = 'PUBLISH' and {same_record}"
    );
    format!(
        r#"
with batch as materialized (
    select *, resent = 0 and consumed = 0 and not {in_doubt} as plain
    from unnest({ids}, {topics}, {partitions}, {offsets}, {resent}, {consumed})
        as b (id, topic, "partition", "offset", resent, consumed)
), changed as (
    update {table} as o
    set {status} = case
            when b.plain then 'PUBLISH'
            when {completes} then 'COMPLETE'
            when o.{status} in ('INIT', 'FAILED') then 'PUBLISH'
            else o.{status}
        end,
        {published_at} = case when b.plain then now() else coalesce(o.{published_at}, now()) end,
        {completed_at} = case when {completes} then now() else o.{completed_at} end,
        {kafka_topic} = case when {moves} then b.topic else o.{kafka_topic} end,
        {kafka_partition} = case when {moves} then b."partition" else o.{kafka_partition} end,
        {kafka_offset} = case when {moves} then b."offset" else o.{kafka_offset} end,
        {attempts} = coalesce(o.{attempts}, 0) + case
            when b.plain then 1
            when {in_doubt} and {same_record} or {same_position} and o.{status} = 'COMPLETE' then 0
            when b.resent > 0 then b.resent
            when o.{status} = 'PUBLISH' and {same_topic_only} then 0
            when {moves} then 1
            else 0
        end,
        {last_attempt_at} = case
            when b.plain or b.resent > 0 or o.{status} in ('INIT', 'FAILED') or {rewritten} then now()
            else o.{last_attempt_at}
        end,
        {last_error} = case when b.plain or b.resent > 0 or o.{status} in ('INIT', 'FAILED') then null else o.{last_error} end
    from batch as b
    where o.{id} = b.id
        and (o.{status} = 'INIT' or b.resent > 0
            or b.consumed > 0 and o.{status} = 'PUBLISH' or b.consumed = 2 and o.{status} = 'FAILED'
            or {rewritten})
    returning
        b.plain or o.{status} = 'PUBLISH' as published,
        case
            when b.consumed > 0 and o.{status} = 'COMPLETE' and o.{completed_at} = now()::{completed_at_type} then b.id
        end as completed,
        case
            when b.consumed > 0 and o.{last_attempt_at} < now()::{last_attempt_at_type}
                and isfinite(o.{last_attempt_at})
            then floor(round(date_part('epoch', o.{last_attempt_at}::timestamptz) * 1000000) / {bucket_width_us})::int8
        end as bucket
), moved as (
    insert into postrider.progress as p (slot, topic, partition, "offset", written_at)
    select {slot}, h.topic, h."partition", h."offset", now()
    from unnest({highest_topics}, {highest_partitions}, {highest_offsets}) as h (topic, "partition", "offset")
    on conflict (slot, topic, partition) do update
    set "offset" = excluded."offset", written_at = excluded.written_at
    where excluded."offset" > p."offset"
), counted as (
    select count(*) filter (where published) as published, count(completed) as completed from changed
), left_publish as (
    select bucket, count(*) as rows from changed
    where {consumed_count} > 0 and completed is not null and bucket is not null group by bucket
)
select
    round(date_part('epoch', now()::{last_attempt_at_type}::timestamptz) * 1000000)::int8 as at_us,
    published,
    case
        when completed < {consumed_count} then array(select completed from changed where completed is not null)
    end as completed,
    array(select bucket from left_publish order by bucket) as buckets,
    array(select rows from left_publish order by bucket) as counts,
    {unseen_xids} as unseen_xids
from counted"#,
        table = table(&names.table),
        id = identifier(&columns.id),
        published_at = identifier(&columns.published_at),
        completed_at = identifier(&columns.completed_at),
        attempts = identifier(&columns.attempts),
        last_attempt_at = identifier(&columns.last_attempt_at),
        last_error = identifier(&columns.last_error),
        completed_at_type = types.completed_at,
        last_attempt_at_type = types.last_attempt_at,
        unseen_xids = unseen_xids_sql(&xids),
    )
}
