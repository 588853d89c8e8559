//! The two statements that write to rows.

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote::{identifier, table};
use crate::connection::session::Session;

/// The types of columns that are assigned to, as casts name them, with their lengths and precisions.
pub(crate) struct ColumnTypes {
    last_attempt_at: String,
    completed_at: String,
    last_error: String,
}

impl ColumnTypes {
    pub(crate) async fn of(session: &Session, names: &Names) -> Result<ColumnTypes, StoreError> {
        const SQL: &str = "
            select a.attname::text, format_type(a.atttypid, a.atttypmod)
            from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
            where n.nspname::text = $1::text and c.relname::text = $2::text and a.attname::text = any($3::text[])
              and a.attnum > 0 and not a.attisdropped";
        let columns = &names.columns;
        let wanted = [&columns.last_attempt_at, &columns.completed_at, &columns.last_error];
        let found = session
            .client()
            .query(SQL, &[&names.table.schema, &names.table.name, &&wanted[..]])
            .await
            .map_err(StoreError::postgres(format!("looking at the columns of {}", names.table)))?;
        // A column that is missing is named by the statement that assigns to it.
        let of = |name: &str, otherwise: &str| {
            let row = found.iter().find(|row| row.get::<_, &str>(0) == name);
            row.map_or_else(|| otherwise.to_owned(), |row| row.get(1))
        };
        Ok(ColumnTypes {
            last_attempt_at: of(&columns.last_attempt_at, "timestamptz"),
            completed_at: of(&columns.completed_at, "timestamptz"),
            last_error: of(&columns.last_error, "text"),
        })
    }
}

/// An array of those transactions of the parameter that the statement's own snapshot does not see.
///
/// The log names transactions by 32 bits; the other 32 are those of the number nearest to the snapshot's.
fn unseen(parameter: &str) -> String {
    format!(
        "array(
        select x.xid
        from unnest({parameter}::int8[]) as x (xid),
            (select s, pg_snapshot_xmax(s)::text::int8 from pg_current_snapshot() as s) as now (snapshot, next),
            lateral (
                select now.next - 2147483648
                    + (x.xid - (now.next & 4294967295) + 2147483648 + 4294967296) % 4294967296
            ) as whole (xid)
        where whole.xid > 2 and not pg_visible_in_snapshot(whole.xid::text::xid8, now.snapshot)
    )"
    )
}

// now() is when the statement's transaction began. That was after the row's commit record was written, or its
// event would not have been read from the log, so published_at is never before the created_at of the same clock.
//
// What only was published, as most are, goes a shorter way (plain): only rows that say INIT are touched for it.
//
// A row is touched only where its status or its place changes. What became of it is told from what it says
// afterwards: it says PUBLISH only if it was sent, and completed_at is now only if it became COMPLETE; then its
// last_attempt_at is before now only if it said PUBLISH, for a row that becomes COMPLETE from INIT or FAILED gets
// its last_attempt_at here, too. Both are compared as precisely as the columns store them.
//
// An attempt is counted when the row learns of its record, from whoever tells it first: the delivery report or a
// consumer, which then has made it COMPLETE. The same place on a row that says less is that of an earlier record: the
// topic was made anew since. A row that has a topic and no place has learnt of its record from a report that did not
// say where it is (a negative offset is none, too); that was counted, and a consumer says where. Where a batch may have
// been written already and nobody heard of what became of it ($14), rows that it published are published now, so that
// they are counted among those that say PUBLISH.
pub(crate) fn changes_sql(names: &Names, types: &ColumnTypes) -> String {
    let columns = &names.columns;
    let status = identifier(&columns.status);
    let kafka_topic = identifier(&columns.kafka_topic);
    let kafka_partition = identifier(&columns.kafka_partition);
    let kafka_offset = identifier(&columns.kafka_offset);
    let completes = format!(
        "b.consumed > 0 and (o.{status} in ('INIT', 'PUBLISH') or b.consumed = 2 and o.{status} = 'FAILED')"
    );
    let nowhere = format!(
        "(coalesce(o.{kafka_offset}, -1) < 0 or o.{kafka_partition} is null or o.{kafka_topic} is null)"
    );
    let moves = format!("b.plain or b.resent > 0 or o.{status} = 'INIT' or {nowhere}");
    let known = format!(
        "o.{kafka_offset} = b.\"offset\" and o.{kafka_partition} = b.\"partition\" and o.{kafka_topic} = b.topic"
    );
    let told_nowhere = format!("o.{kafka_topic} = b.topic and {nowhere}");
    let same = format!("({known} or b.\"offset\" is null and {told_nowhere})");
    let rewritten =
        format!("$14::bool and b.resent = 0 and b.consumed = 0 and o.{status} = 'PUBLISH' and {same}");
    format!(
        r#"
with batch as materialized (
    select *, resent = 0 and consumed = 0 and not $14::bool as plain
    from unnest($1::uuid[], $2::text[], $3::int4[], $4::int8[], $5::int2[], $6::int2[])
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
            when $14::bool and {same} or {known} and o.{status} = 'COMPLETE' then 0
            when b.resent > 0 then b.resent
            when o.{status} = 'PUBLISH' and {told_nowhere} then 0
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
            then floor(round(date_part('epoch', o.{last_attempt_at}::timestamptz) * 1000000) / $12::int8)::int8
        end as bucket
), moved as (
    insert into postrider.progress as p (slot, topic, partition, "offset", written_at)
    select $7::text, h.topic, h."partition", h."offset", now()
    from unnest($8::text[], $9::int4[], $10::int8[]) as h (topic, "partition", "offset")
    on conflict (slot, topic, partition) do update
    set "offset" = excluded."offset", written_at = excluded.written_at
    where excluded."offset" > p."offset"
), counted as (
    select count(*) filter (where published) as published, count(completed) as completed from changed
), left_publish as (
    select bucket, count(*) as rows from changed
    where $13::int8 > 0 and completed is not null and bucket is not null group by bucket
)
select
    round(date_part('epoch', now()::{last_attempt_at_type}::timestamptz) * 1000000)::int8,
    published,
    case when completed < $13::int8 then array(select completed from changed where completed is not null) end,
    array(select bucket from left_publish order by bucket),
    array(select rows from left_publish order by bucket),
    {unseen}
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
        unseen = unseen("$11"),
    )
}

// The entry of a row that is not visible yet is made at once: it keeps its place in its lane before the rows that come
// after it. Where a batch may have been written already and nobody heard of what became of it ($10), a row that the log
// has just brought tells by what it says that it was: its entry is there, or was taken out since, and is not to come
// back. What the reason has beyond the column's length is cut off.
pub(crate) fn asides_sql(names: &Names, types: &ColumnTypes) -> String {
    let columns = &names.columns;
    let status = identifier(&columns.status);
    let fails = format!("g.failed and o.{status} is distinct from 'COMPLETE'");
    format!(
        r#"
with given as materialized (
    select *
    from unnest($1::uuid[], $2::bool[], $3::bool[], $4::text[], $5::text[], $6::bytea[], $7::int4[], $11::bool[])
        as g (id, failed, sent, error, topic, key, number, live)
), written as (
    update {table} as o
    set {status} = case when {fails} then 'FAILED' else o.{status} end,
        {attempts} = case
            when $10::bool and o.{status} = 'FAILED' and o.{last_error} = g.error::{last_error_type} then o.{attempts}
            when {fails} then coalesce(o.{attempts}, 0) + g.sent::int4
            else o.{attempts}
        end,
        {last_attempt_at} = case when {fails} then now() else o.{last_attempt_at} end,
        {last_error} = g.error::{last_error_type}
    from given as g
    where o.{id} = g.id
        and (o.{status} = 'INIT'
            or g.failed and (g.live and o.{status} in ('PUBLISH', 'COMPLETE')) is not true)
), held as (
    insert into postrider.held as h (slot, id, topic, key, head)
    select $8::text, g.id, g.topic, g.key, g.failed
    from given as g
    where g.topic is not null
        and not ($10::bool and g.live and exists (
            select from {table} as o
            where o.{id} = g.id
                and (o.{status} is distinct from 'INIT' or o.{last_error} = g.error::{last_error_type})
        ))
    order by g.number
    on conflict (slot, id) do update
    set topic = excluded.topic, key = excluded.key, head = true
    where excluded.head
)
select {unseen}"#,
        table = table(&names.table),
        id = identifier(&columns.id),
        attempts = identifier(&columns.attempts),
        last_attempt_at = identifier(&columns.last_attempt_at),
        last_error = identifier(&columns.last_error),
        last_error_type = types.last_error,
        unseen = unseen("$9"),
    )
}
