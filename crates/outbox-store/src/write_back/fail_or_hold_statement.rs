//! The statement that writes FAILED rows and queues rows of held keys.

use std::iter::repeat;

use tokio_postgres::{Client, Error, Statement};
use uuid::Uuid;

use crate::connection::names::Names;
use crate::connection::quote::{identifier, table};
use crate::held_event;
use crate::write_back::column_types::WrittenColumnTypes;
use crate::write_back::fail_or_hold::FailOrHold;
use crate::write_back::outcome::BatchOutcome;
use crate::write_back::parameters::statement_parameters;
use crate::write_back::unseen::{self, unseen_xids_sql};

statement_parameters! {
    /// The parameters of the statement. Arrays have one element for each row, see [`FailOrHold`].
    struct FailOrHoldParameters / FailOrHoldPlaceholders {
        ids: Vec<Uuid> => UUID_ARRAY,
        failed: Vec<bool> => BOOL_ARRAY,
        sent: Vec<bool> => BOOL_ARRAY,
        last_errors: Vec<&'a str> => TEXT_ARRAY,
        topics: Vec<Option<&'a str>> => TEXT_ARRAY,
        keys: Vec<Option<&'a [u8]>> => BYTEA_ARRAY,
        numbers: Vec<i32> => INT4_ARRAY,
        /// The transaction of each row, where it may not be visible yet.
        row_xids: Vec<Option<i64>> => INT8_ARRAY,
        created_at_us: Vec<Option<i64>> => INT8_ARRAY,
        /// Whether each row has an event.
        has_event: Vec<bool> => BOOL_ARRAY,
        /// The texts of all events, `text_count` for each row.
        texts: Vec<Option<&'a [u8]>> => BYTEA_ARRAY,
        text_count: i32 => INT4,
        slot: &'a str => TEXT,
        xids: Vec<i64> => INT8_ARRAY,
        in_doubt: bool => BOOL,
    }
}

impl<'a> FailOrHoldParameters<'a> {
    pub(crate) fn of(rows: &'a [FailOrHold], xids: &[u32], slot: &'a str, in_doubt: bool) -> Self {
        let event_texts = |row: &'a FailOrHold| row.event.iter().flat_map(|event| held_event::texts(event));
        let text_count = rows.iter().map(|row| event_texts(row).count()).max().unwrap_or(0);
        let padded = |row: &'a FailOrHold| event_texts(row).chain(repeat(None)).take(text_count);
        FailOrHoldParameters {
            ids: rows.iter().map(|row| row.id).collect(),
            failed: rows.iter().map(|row| row.failed).collect(),
            sent: rows.iter().map(|row| row.sent).collect(),
            last_errors: rows.iter().map(|row| &*row.last_error).collect(),
            topics: rows.iter().map(|row| row.queue.as_ref().map(|(topic, _)| &**topic)).collect(),
            keys: rows.iter().map(|row| row.queue.as_ref().map(|(_, key)| &**key)).collect(),
            numbers: rows.iter().map(|row| row.number).collect(),
            row_xids: rows.iter().map(|row| row.xid.map(i64::from)).collect(),
            created_at_us: rows
                .iter()
                .map(|row| row.event.as_ref().and_then(|event| event.created_at_us))
                .collect(),
            has_event: rows.iter().map(|row| row.event.is_some()).collect(),
            texts: rows.iter().flat_map(padded).collect(),
            text_count: i32::try_from(text_count).unwrap_or(i32::MAX),
            slot,
            xids: unseen::to_parameter(xids),
            in_doubt,
        }
    }

    /// # Errors
    ///
    /// As of any query.
    pub(crate) async fn write(&self, client: &Client, statement: &Statement) -> Result<BatchOutcome, Error> {
        let row = client.query_one(statement, &self.values()).await?;
        Ok(BatchOutcome {
            unseen_xids: unseen::from_answer(row.get("unseen_xids")),
            ..BatchOutcome::default()
        })
    }
}

// The entry in postrider.held of a row that is not visible yet is made at once, so that the row keeps its place before
// the rows that follow it. If the batch may have been written before (in_doubt), the state of a row just read from the
// WAL shows that it was: its entry exists or was removed since, and must not come back. A reason longer than the column
// is truncated by the cast. A failed row that was deleted gets an entry without a key, so that its event is not lost.
pub(crate) fn fail_or_hold_sql(names: &Names, types: &WrittenColumnTypes) -> String {
    let FailOrHoldPlaceholders {
        ids,
        failed,
        sent,
        last_errors,
        topics,
        keys,
        numbers,
        row_xids,
        created_at_us,
        has_event,
        texts,
        text_count,
        slot,
        xids,
        in_doubt,
    } = FailOrHoldParameters::placeholders();
    let columns = &names.columns;
    let status = identifier(&columns.status);
    let fails = format!("g.failed and o.{status} is distinct from 'COMPLETE'");
    format!(
        r#"
with unseen as materialized (
    select {unseen_xids} as xids
), given as materialized (
    select g.*,
        case when has_event then ({texts})[(place::int4 - 1) * {text_count} + 1 : place::int4 * {text_count}] end as event,
        timestamptz 'epoch' + created_at_us * interval '1 microsecond' as created_at
    from unnest({ids}, {failed}, {sent}, {last_errors}, {topics}, {keys}, {numbers}, {row_xids}, {created_at_us},
            {has_event}) with ordinality
        as g (id, failed, sent, error, topic, key, number, xid, created_at_us, has_event, place)
), written as (
    update {table} as o
    set {status} = case when {fails} then 'FAILED' else o.{status} end,
        {attempts} = case
            when {in_doubt} and o.{status} = 'FAILED' and o.{last_error} = g.error::{last_error_type} then o.{attempts}
            when {fails} then coalesce(o.{attempts}, 0) + g.sent::int4
            else o.{attempts}
        end,
        {last_attempt_at} = case when {fails} then now() else o.{last_attempt_at} end,
        {last_error} = g.error::{last_error_type}
    from given as g
    where o.{id} = g.id
        and (o.{status} = 'INIT'
            or g.failed and (g.xid is not null and o.{status} in ('PUBLISH', 'COMPLETE')) is not true)
), held as (
    insert into postrider.held as h (slot, id, topic, key, head, event, created_at, last_error)
    select {slot}, g.id, g.topic, g.key, g.failed, g.event, g.created_at, g.error
    from given as g, unseen
    where (g.topic is not null
            or g.failed and g.has_event and (g.xid = any(unseen.xids)) is not true
                and not exists (select from {table} as o where o.{id} = g.id))
        and not ({in_doubt} and g.xid is not null and exists (
            select from {table} as o
            where o.{id} = g.id
                and (o.{status} is distinct from 'INIT' or o.{last_error} = g.error::{last_error_type})
        ))
    order by g.number
    on conflict (slot, id) do update
    set topic = coalesce(excluded.topic, h.topic), key = coalesce(excluded.key, h.key), head = true,
        event = coalesce(excluded.event, h.event), created_at = coalesce(excluded.created_at, h.created_at),
        last_error = excluded.last_error
    where excluded.head
)
select xids as unseen_xids from unseen"#,
        table = table(&names.table),
        id = identifier(&columns.id),
        attempts = identifier(&columns.attempts),
        last_attempt_at = identifier(&columns.last_attempt_at),
        last_error = identifier(&columns.last_error),
        last_error_type = types.last_error,
        unseen_xids = unseen_xids_sql(&xids),
    )
}
