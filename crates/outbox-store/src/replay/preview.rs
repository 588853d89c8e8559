//! What a replay would send, counted in the database.

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote::{identifier, literal};
use crate::connection::session::Session;
use crate::event_rows::ColumnTypes;
use crate::replay::selection::Selection;
use crate::replay::selection::{Clock, Conditions};

/// A piece of a template for a topic or a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplatePart<'a> {
    /// Text as it is.
    Text(&'a str),
    /// The value of this column.
    Column(&'a str),
}

/// What a replay would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayPreview {
    /// The rows it would send, by topic and state.
    pub groups: Vec<ReplayGroup>,
    /// Rows that wait in line behind a row that could not be sent, and would be passed over.
    pub waiting: u64,
    /// How many keys, each in its topic, the rows have.
    pub keys: u64,
    /// How many of these have a row that is newer than all that would be sent, and published already: what would be sent
    /// last is then not the last word. `None` where the table keeps no times.
    pub keys_with_newer: Option<u64>,
}

/// Rows of one topic and state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayGroup {
    /// The topic; `None` for rows that cannot be routed, because a template meets a NULL.
    pub topic: Option<String>,
    /// What the rows say of themselves.
    pub status: Option<String>,
    /// How many there are.
    pub rows: u64,
}

/// Counts what a replay would send, were it requested now. Reads the table, and writes nothing.
///
/// # Errors
///
/// As of any query.
pub async fn preview_replay(
    session: &Session,
    names: &Names,
    selection: &Selection,
    topic: &[TemplatePart<'_>],
    key: &[TemplatePart<'_>],
) -> Result<ReplayPreview, StoreError> {
    let types = ColumnTypes::of_table(session, names).await?;
    let clock = Clock::of(&types, names);
    let lane = OrderingKey::new(names, &types, topic, key);
    let conditions = Conditions { names, clock, selection, requested_us: None };
    let doing = || format!("counting the rows to replay of {}", names.table);
    let groups = session
        .client()
        .query(&groups_sql(&conditions, &lane), &[])
        .await
        .map_err(StoreError::postgres(doing()))?;
    let keys = session
        .client()
        .query_one(&keys_sql(&conditions, &lane), &[])
        .await
        .map_err(StoreError::postgres(doing()))?;
    let mut preview = ReplayPreview {
        groups: Vec::new(),
        waiting: 0,
        keys: keys.get::<_, i64>(0).unsigned_abs(),
        keys_with_newer: keys.get::<_, Option<i64>>(1).map(i64::unsigned_abs),
    };
    for row in groups {
        let rows = row.get::<_, i64>(3).unsigned_abs();
        if row.get(2) {
            preview.waiting += rows;
        } else {
            preview.groups.push(ReplayGroup { topic: row.get(0), status: row.get(1), rows });
        }
    }
    Ok(preview)
}

/// Where a row goes, as SQL.
struct OrderingKey {
    topic: String,
    key: String,
}

impl OrderingKey {
    fn new(
        names: &Names,
        types: &ColumnTypes,
        topic: &[TemplatePart<'_>],
        key: &[TemplatePart<'_>],
    ) -> OrderingKey {
        let columns = &names.columns;
        let key_template = rendered(types, key);
        let own_key = text(types, &columns.partition_key);
        let topic =
            format!("coalesce(nullif({}, ''), {})", text(types, &columns.topic), rendered(types, topic));
        let key_sql = format!("coalesce({own_key}, {key_template})");
        // A template that is one column and nothing else makes a record without a key of a NULL.
        let topic = match key {
            [TemplatePart::Column(_)] => topic,
            _ => format!("case when {key_sql} is not null then {topic} end"),
        };
        OrderingKey { topic, key: key_sql }
    }
}

/// NULL where one of its columns is.
fn rendered(types: &ColumnTypes, template: &[TemplatePart<'_>]) -> String {
    let parts: Vec<String> = template
        .iter()
        .map(|part| match part {
            TemplatePart::Text(constant) => literal(constant),
            TemplatePart::Column(name) => text(types, name),
        })
        .collect();
    format!("({})", parts.join(" || "))
}

fn text(types: &ColumnTypes, name: &str) -> String {
    let column = format!("o.{}", identifier(name));
    match types.get(name) {
        None => "null::text".to_owned(),
        // A cast would cut the blanks off that belong to the value.
        Some("character") => format!("case when {column} is not null then concat({column}) end"),
        Some(_) => format!("{column}::text"),
    }
}

/// The rows that are meant, with where they go.
fn chosen(conditions: &Conditions<'_>, lane: &OrderingKey) -> String {
    let limited = conditions
        .selection
        .rows_max
        .map_or_else(String::new, |rows_max| format!(" order by {} limit {rows_max}", conditions.order()));
    format!(
        r#"select {topic} as topic, {key} as "key", o.{status}::text as status, {created_at} as created_at,
                  {waits} as waits
           from {from} where {condition}{limited}"#,
        topic = lane.topic,
        key = lane.key,
        status = identifier(&conditions.names.columns.status),
        created_at = created_at(conditions),
        waits = conditions.waits(),
        from = conditions.from(),
        condition = conditions.all(),
    )
}

fn created_at(conditions: &Conditions<'_>) -> String {
    match conditions.clock {
        Clock::Absent => "null::timestamptz".to_owned(),
        Clock::Zoned | Clock::Naive => conditions.created_at(),
    }
}

fn groups_sql(conditions: &Conditions<'_>, lane: &OrderingKey) -> String {
    format!(
        "select topic, status, waits, count(*) from ({}) as chosen group by 1, 2, 3 order by 1, 2, 3",
        chosen(conditions, lane)
    )
}

// Of the rows that are published only those are looked at that are newer than the first key to be sent is.
fn keys_sql(conditions: &Conditions<'_>, lane: &OrderingKey) -> String {
    let chosen = chosen(conditions, lane);
    if conditions.clock == Clock::Absent {
        return format!(
            r#"select count(distinct (topic, "key")), null::int8 from ({chosen}) as chosen
               where not waits and topic is not null and "key" is not null"#
        );
    }
    format!(
        r#"with lane as materialized (
               select topic, "key", max(created_at) as newest from ({chosen}) as chosen
               where not waits and topic is not null and "key" is not null
               group by topic, "key"
           ), later as (
               select {topic} as topic, {key} as "key", max({created_at}) as newest from {from}
               where o.{status}::text in ('PUBLISH', 'COMPLETE')
                   and {created_at} > (select min(newest) from lane)
               group by 1, 2
           )
           select (select count(*) from lane),
                  (select count(*) from lane join later using (topic, "key") where later.newest > lane.newest)"#,
        topic = lane.topic,
        key = lane.key,
        created_at = created_at(conditions),
        from = conditions.from(),
        status = identifier(&conditions.names.columns.status),
    )
}
