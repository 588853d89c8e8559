//! Requests to send rows again, and how far each has come: table `postrider.replay`.
//!
//! A request is announced in the log by a logical message of its own transaction, with [`REPLAY_PREFIX`] and its id as
//! text, and everybody who waits for it is told of every change by a notification on [`REPLAY_CHANNEL`].

use std::fmt;

use outbox::Status;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::session::Session;
use crate::replay::selection::{Clock, microseconds};
use crate::replay::selection::{RowKey, Selection};

/// The prefix of the logical messages that announce requests.
pub const REPLAY_PREFIX: &str = "postrider.replay";

/// Where changes of a request are notified, with its id as payload.
pub const REPLAY_CHANNEL: &str = "postrider_replay";

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRequest {
    /// Its id.
    pub id: Uuid,
    /// What is asked for.
    pub kind: ReplayKind,
    /// How it stands.
    pub state: ReplayState,
    /// How many rows it is about, once that is known.
    pub rows_total: Option<u64>,
    /// How far it has come.
    pub progress: ReplayProgress,
    /// What went wrong.
    pub last_error: Option<String>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayKind {
    /// To send rows again.
    Replay {
        /// Which.
        selection: Selection,
        /// When it was asked for, in microseconds since 1970-01-01 UTC: rows made later are not meant.
        requested_us: i64,
        /// How many a second at most.
        rows_per_second: Option<u32>,
    },
    /// To let the rows behind this one go on without it.
    Skip(Uuid),
}

/// How a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayState {
    /// It has not begun.
    Queued,
    /// It has begun.
    Running,
    /// All its rows have been dealt with.
    Done,
    /// It cannot go on.
    Failed,
    /// Somebody has called it off.
    Cancelled,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayProgress {
    /// Rows that were sent.
    pub sent: u64,
    /// Rows that could not be sent.
    pub failed: u64,
    /// Rows that needed nothing, or wait in line behind another.
    pub passed: u64,
    /// The last row that is dealt with; all before it are.
    pub last: Option<RowKey>,
}

impl ReplayProgress {
    /// How many rows are dealt with.
    pub fn rows(&self) -> u64 {
        self.sent + self.failed + self.passed
    }
}

impl ReplayState {
    const ALL: [ReplayState; 5] = [
        ReplayState::Queued,
        ReplayState::Running,
        ReplayState::Done,
        ReplayState::Failed,
        ReplayState::Cancelled,
    ];

    /// The text in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            ReplayState::Queued => "queued",
            ReplayState::Running => "running",
            ReplayState::Done => "done",
            ReplayState::Failed => "failed",
            ReplayState::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more happens to the request.
    pub const fn is_finished(self) -> bool {
        matches!(self, ReplayState::Done | ReplayState::Failed | ReplayState::Cancelled)
    }
}

impl fmt::Display for ReplayState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of an attempt to call a request off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It is called off.
    Now,
    /// It had come to its end before, this way.
    Finished(ReplayState),
    /// There is no such request.
    Unknown,
}

/// What there is to an announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// This request.
    Request(Box<ReplayRequest>),
    /// A request to the relay of another slot.
    OfAnotherSlot,
    /// No request: anybody may write such a message.
    NoRequest,
    /// The log tells of a commit before others see it; the request is to be looked for a little later.
    NotVisibleYet,
}

const ASKING: &str = "grant the role USAGE on schema postrider and SELECT, INSERT and UPDATE on postrider.replay, or run the command \
     as one that has them";
const KEEPING: &str =
    "grant the relay's role USAGE on schema postrider and SELECT and UPDATE on postrider.replay";

/// Makes a request and announces it, in one transaction. It is durable, and its relay will hear of it.
///
/// # Errors
///
/// Definite where schema `postrider` is missing or the role may not make requests.
pub async fn request_replay(
    session: &Session,
    names: &Names,
    selection: &Selection,
    rows_per_second: Option<u32>,
) -> Result<Uuid, StoreError> {
    // On the clock by which the service fills the column, or rows of the last hours would be taken for later ones.
    let now = match Clock::of_table(session, names).await? {
        Clock::Naive => "clock_timestamp()::timestamp at time zone 'UTC'",
        Clock::Absent | Clock::Zoned => "clock_timestamp()",
    };
    let from = time_of("$4::int8");
    let to = time_of("$5::int8");
    let sql = format!(
        "with asked as (select {now} as at, {from} as earliest, {to} as latest),
         made as (
            insert into postrider.replay (id, slot, ids, statuses, created_from, created_before, until_now,
                aggregate_type, aggregate_id, rows_max, rows_per_second)
            select gen_random_uuid(), $1::text, $2::uuid[], $3::text[], earliest, least(latest, at),
                latest is null or latest > at, $6::text, $7::text, $8::int8, $9::int4
            from asked
            returning id
         )
         select id, pg_logical_emit_message(true, '{REPLAY_PREFIX}', id::text),
                pg_notify('{REPLAY_CHANNEL}', id::text)
         from made"
    );
    let ids = (!selection.ids.is_empty()).then_some(&selection.ids);
    let statuses: Vec<&str> = selection.statuses.iter().map(|status| status.as_str()).collect();
    let statuses = (!statuses.is_empty()).then_some(statuses);
    let rows_max = selection.rows_max.map(|rows| i64::try_from(rows).unwrap_or(i64::MAX));
    let rate = rows_per_second.map(|rows| i32::try_from(rows).unwrap_or(i32::MAX));
    let parameters: [&(dyn ToSql + Sync); 9] = [
        &names.slot,
        &ids,
        &statuses,
        &selection.from_us,
        &selection.to_us,
        &selection.aggregate_type,
        &selection.aggregate_id,
        &rows_max,
        &rate,
    ];
    let made = session.client().query_one(&sql, &parameters).await;
    Ok(made.map_err(explained("requesting a replay", ASKING))?.get(0))
}

/// Makes a request to let the rows behind this one go on without it, and announces it. `None`, and nothing is done,
/// where nothing is held back behind that row.
///
/// # Errors
///
/// As of [`request_replay`].
pub async fn request_skip(session: &Session, names: &Names, row: Uuid) -> Result<Option<Uuid>, StoreError> {
    let sql = format!(
        "with made as (
            insert into postrider.replay (id, slot, kind, ids)
            select gen_random_uuid(), $1::text, 'skip', array[$2::uuid]
            where exists (select from postrider.held where slot = $1::text and id = $2::uuid and head)
            returning id
         )
         select id, pg_logical_emit_message(true, '{REPLAY_PREFIX}', id::text),
                pg_notify('{REPLAY_CHANNEL}', id::text)
         from made"
    );
    let made = session.client().query_opt(&sql, &[&names.slot, &row]).await;
    Ok(made.map_err(explained("requesting that a row be skipped", ASKING))?.map(|row| row.get(0)))
}

/// Calls a request off. A relay that is at it stops within about a second.
///
/// # Errors
///
/// As of any query.
pub async fn cancel_replay(session: &Session, slot: &str, id: Uuid) -> Result<Cancelled, StoreError> {
    let sql = format!(
        "with cancelled as (
            update postrider.replay set state = 'cancelled', finished_at = clock_timestamp()
            where id = $1::uuid and slot = $2::text and state in ('queued', 'running')
            returning id
         ), told as (select pg_notify('{REPLAY_CHANNEL}', id::text) from cancelled)
         select state, exists (select from cancelled), (select count(*) from told)
         from postrider.replay where id = $1::uuid and slot = $2::text"
    );
    let found = session.client().query_opt(&sql, &[&id, &slot]).await;
    let found = found.map_err(explained("calling a replay off", ASKING))?;
    Ok(match found {
        None => Cancelled::Unknown,
        Some(row) if row.get(1) => Cancelled::Now,
        Some(row) => Cancelled::Finished(state(row.get(0))),
    })
}

/// A request, if there is one with this id.
///
/// # Errors
///
/// As of any query.
pub async fn replay_request(session: &Session, id: Uuid) -> Result<Option<ReplayRequest>, StoreError> {
    let sql = format!("select {} from postrider.replay as r where id = $1::uuid", list());
    let row = session.client().query_opt(&sql, &[&id]).await;
    Ok(row.map_err(explained("reading a replay request", KEEPING))?.as_ref().map(read))
}

/// The requests of a slot that are not finished, in the order in which they are to be executed: what has begun, and
/// then as they were made. `requests_max` at most.
///
/// # Errors
///
/// As of any query.
pub async fn unfinished_replays(
    session: &Session,
    slot: &str,
    requests_max: usize,
) -> Result<Vec<ReplayRequest>, StoreError> {
    let sql = format!(
        "select {} from postrider.replay as r where slot = $1::text and state in ('queued', 'running')
         order by state = 'queued', requested_at, id limit $2",
        list()
    );
    let limit = i64::try_from(requests_max).unwrap_or(i64::MAX);
    let rows = session.client().query(&sql, &[&slot, &limit]).await;
    Ok(rows.map_err(explained("reading the replay requests", KEEPING))?.iter().map(read).collect())
}

/// The requests that messages of the log announced, in their order: of each message the id that it names and its
/// transaction.
///
/// # Errors
///
/// As of any query.
pub async fn announced_replays(
    session: &Session,
    slot: &str,
    announced: &[(Uuid, Option<u32>)],
) -> Result<Vec<Announcement>, StoreError> {
    let sql = format!(
        "select {}, r.id is null, coalesce(r.slot = $2::text, false), coalesce({}, false)
         from unnest($1::uuid[], $3::int8[]) with ordinality as a (id, xid, number)
         cross join {NOW} as now
         cross join lateral {} as whole (xid)
         left join postrider.replay as r on r.id = a.id
         order by a.number",
        list(),
        is_unseen("whole.xid"),
        whole("a.xid"),
    );
    let (ids, xids): (Vec<Uuid>, Vec<Option<i64>>) =
        announced.iter().map(|(id, xid)| (*id, xid.map(i64::from))).unzip();
    let rows = session.client().query(&sql, &[&ids, &slot, &xids]).await;
    let rows = rows.map_err(explained("looking for announced replay requests", KEEPING))?;
    let announcement = |row: &Row| match (row.get(LISTED), row.get(LISTED + 2)) {
        (true, true) => Announcement::NotVisibleYet,
        (true, false) => Announcement::NoRequest,
        (false, _) if row.get::<_, bool>(LISTED + 1) => Announcement::Request(Box::new(read(row))),
        (false, _) => Announcement::OfAnotherSlot,
    };
    Ok(rows.iter().map(announcement).collect())
}

/// Whether others see every transaction of the log from `first` to `last`, so that a request that one of them made is
/// found. Those under way that have such a number are waited for with them.
///
/// # Errors
///
/// As of any query.
pub async fn are_visible(session: &Session, first: u32, last: u32) -> Result<bool, StoreError> {
    let sql = format!(
        "select last.xid < now.next and not exists (
             select from pg_snapshot_xip(now.s) as x (xid) where x.xid::text::int8 between first.xid and last.xid
         )
         from {NOW} as now
         cross join lateral {} as first (xid)
         cross join lateral {} as last (xid)",
        whole("$1::int8"),
        whole("$2::int8"),
    );
    let row = session.client().query_one(&sql, &[&i64::from(first), &i64::from(last)]).await;
    Ok(row.map_err(explained("looking for announced replay requests", KEEPING))?.get(0))
}

/// The snapshot, and the first number that no transaction had when it was taken.
const NOW: &str = "(select s, pg_snapshot_xmax(s)::text::int8 as next from pg_current_snapshot() as s)";

/// A transaction's whole number: the log names it by 32 bits, the other 32 are those of the number nearest to the
/// snapshot's.
fn whole(xid: &str) -> String {
    format!(
        "(select now.next - 2147483648 + ({xid} - (now.next & 4294967295) + 2147483648 + 4294967296) % 4294967296)"
    )
}

fn is_unseen(whole: &str) -> String {
    format!("{whole} > 2 and not pg_visible_in_snapshot({whole}::text::xid8, now.s)")
}

/// Notes that a request has begun, or begun again, and how many rows it is about. Answers whether it is still to be
/// executed.
///
/// # Errors
///
/// As of any query.
pub async fn start_replay(session: &Session, id: Uuid, rows_total: u64) -> Result<bool, StoreError> {
    let sql = changing(
        "state = 'running', started_at = coalesce(started_at, clock_timestamp()),
         rows_total = coalesce(rows_total, $2::int8)",
        "state in ('queued', 'running')",
    );
    change(session, "noting that a replay begins", &sql, &[&id, &signed(rows_total)]).await
}

/// Notes how far a request has come. Answers whether it is to go on.
///
/// # Errors
///
/// As of any query.
pub async fn save_replay(session: &Session, id: Uuid, progress: &ReplayProgress) -> Result<bool, StoreError> {
    let sql = changing(&progress_assignments(), "state = 'running'");
    kept(session, "noting how far a replay has come", &sql, id, progress, None).await
}

/// Whether a request is still to be executed.
///
/// # Errors
///
/// As of any query.
pub async fn is_replay_wanted(session: &Session, id: Uuid) -> Result<bool, StoreError> {
    const SQL: &str = "select state in ('queued', 'running') from postrider.replay where id = $1::uuid";
    let row = session.client().query_opt(SQL, &[&id]).await;
    Ok(row.map_err(explained("reading a replay request", KEEPING))?.is_some_and(|row| row.get(0)))
}

/// Notes that a request has come to its end: it is done, or failed for a reason. One that was called off stays so, and
/// its figures are brought up to date.
///
/// # Errors
///
/// As of any query; to repeat it is safe.
pub async fn finish_replay(
    session: &Session,
    id: Uuid,
    progress: &ReplayProgress,
    failure: Option<&str>,
) -> Result<(), StoreError> {
    let sql = changing(
        &format!(
            "{}, state = case when state = 'cancelled' then state when $7::text is null then 'done' else 'failed' end,
             last_error = coalesce($7::text, last_error), finished_at = clock_timestamp()",
            progress_assignments()
        ),
        "state in ('queued', 'running', 'cancelled')",
    );
    kept(session, "noting the end of a replay", &sql, id, progress, Some(failure)).await.map(drop)
}

fn progress_assignments() -> String {
    format!(
        "rows_sent = $2::int8, rows_failed = $3::int8, rows_passed = $4::int8, last_created_at = {}, last_id = $6::uuid",
        time_of("$5::int8")
    )
}

fn changing(assignments: &str, condition: &str) -> String {
    format!(
        "with changed as (
            update postrider.replay set {assignments} where id = $1::uuid and {condition} returning id
         )
         select pg_notify('{REPLAY_CHANNEL}', id::text) from changed"
    )
}

async fn kept(
    session: &Session,
    doing: &str,
    sql: &str,
    id: Uuid,
    progress: &ReplayProgress,
    failure: Option<Option<&str>>,
) -> Result<bool, StoreError> {
    let [sent, failed, passed] = [progress.sent, progress.failed, progress.passed].map(signed);
    let created_at = progress.last.and_then(|last| last.created_at_us);
    let last = progress.last.map(|last| last.id);
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&id, &sent, &failed, &passed, &created_at, &last];
    if let Some(failure) = &failure {
        parameters.push(failure);
    }
    change(session, doing, sql, &parameters).await
}

async fn change(
    session: &Session,
    doing: &str,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<bool, StoreError> {
    let changed = session.client().query_opt(sql, parameters).await;
    Ok(changed.map_err(explained(doing, KEEPING))?.is_some())
}

/// A time of the request's row, from microseconds.
fn time_of(us: &str) -> String {
    format!(
        "case {us} when {} then 'infinity'::timestamptz when '{}'::int8 then '-infinity'::timestamptz
         else timestamptz 'epoch' + {us} * interval '1 microsecond' end",
        i64::MAX,
        i64::MIN
    )
}

const LISTED: usize = 19;

fn list() -> String {
    format!(
        "r.id, r.kind, r.ids, r.statuses, {}, {}, r.until_now, r.aggregate_type, r.aggregate_id, r.rows_max,
         r.rows_per_second, r.state, r.rows_total, r.rows_sent, r.rows_failed, r.rows_passed, {}, r.last_id, r.last_error",
        microseconds("r.created_from"),
        microseconds("r.created_before"),
        microseconds("r.last_created_at"),
    )
}

fn read(row: &Row) -> ReplayRequest {
    let ids: Vec<Uuid> = row.get::<_, Option<Vec<Uuid>>>(2).unwrap_or_default();
    let kind = match row.get::<_, &str>(1) {
        "skip" => ReplayKind::Skip(ids.first().copied().unwrap_or_default()),
        _ => ReplayKind::Replay {
            selection: Selection {
                ids,
                statuses: row
                    .get::<_, Option<Vec<String>>>(3)
                    .unwrap_or_default()
                    .iter()
                    .filter_map(|status| status.parse::<Status>().ok())
                    .collect(),
                from_us: row.get(4),
                to_us: row.get::<_, Option<i64>>(5).filter(|_| !row.get::<_, bool>(6)),
                aggregate_type: row.get(7),
                aggregate_id: row.get(8),
                rows_max: row.get::<_, Option<i64>>(9).map(i64::unsigned_abs),
            },
            requested_us: row.get::<_, Option<i64>>(5).unwrap_or(i64::MAX),
            rows_per_second: row.get::<_, Option<i32>>(10).map(i32::unsigned_abs),
        },
    };
    let count = |index| row.get::<_, i64>(index).unsigned_abs();
    ReplayRequest {
        id: row.get(0),
        kind,
        state: state(row.get(11)),
        rows_total: row.get::<_, Option<i64>>(12).map(i64::unsigned_abs),
        progress: ReplayProgress {
            sent: count(13),
            failed: count(14),
            passed: count(15),
            last: row.get::<_, Option<Uuid>>(17).map(|id| RowKey { created_at_us: row.get(16), id }),
        },
        last_error: row.get(18),
    }
}

/// The table takes no other words.
fn state(text: &str) -> ReplayState {
    ReplayState::ALL.into_iter().find(|state| state.as_str() == text).unwrap_or(ReplayState::Failed)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn explained(doing: &str, remedy: &str) -> impl FnOnce(tokio_postgres::Error) -> StoreError {
    move |error| {
        let error = StoreError::postgres(doing)(error);
        if error.code() == Some("42501") { error.with_remedy(remedy) } else { error }
    }
}
