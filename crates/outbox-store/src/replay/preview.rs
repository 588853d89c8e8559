//! The preview of a replay, counted by the database.

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote::{identifier, literal};
use crate::connection::session::Session;
use crate::event_rows::ColumnTypes;
use crate::replay::selection::{CreatedAtType, Selection, SelectionSql};

/// A part of a topic or key template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplatePart<'a> {
    /// Literal text.
    Text(&'a str),
    /// The value of this column.
    Column(&'a str),
}

/// The rows that a replay would send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayPreview {
    /// The rows, by topic and state.
    pub groups: Vec<ReplayGroup>,
    /// Rows that are held behind a failed row of their key and would be passed over.
    pub held: u64,
    /// The number of ordering keys (topic and key) of the rows.
    pub keys: u64,
    /// The number of these with a published row that is newer than all rows that would be sent: for them the last record
    /// would be an older one. `None` if the table has no `created_at`.
    pub keys_with_newer: Option<u64>,
}

/// Rows of one topic and state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayGroup {
    /// The topic; `None` for rows that cannot be routed, because a column of a template is NULL.
    pub topic: Option<String>,
    /// The text of their status.
    pub status: Option<String>,
    /// The number of rows.
    pub rows: u64,
}

/// Counts the rows that a replay requested now would send. Writes nothing.
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
    let created_at_type = CreatedAtType::of(&types, names);
    let route = RouteSql::new(names, &types, topic, key);
    let conditions = SelectionSql { names, created_at_type, selection, requested_us: None };
    let doing = || format!("counting the rows to replay of {}", names.table);
    let groups = session
        .client()
        .query(&groups_sql(&conditions, &route), &[])
        .await
        .map_err(StoreError::postgres(doing()))?;
    let keys = session
        .client()
        .query_one(&keys_sql(&conditions, &route), &[])
        .await
        .map_err(StoreError::postgres(doing()))?;
    let mut preview = ReplayPreview {
        groups: Vec::new(),
        held: 0,
        keys: keys.get::<_, i64>(0).unsigned_abs(),
        keys_with_newer: keys.get::<_, Option<i64>>(1).map(i64::unsigned_abs),
    };
    for row in groups {
        let rows = row.get::<_, i64>(3).unsigned_abs();
        if row.get(2) {
            preview.held += rows;
        } else {
            preview.groups.push(ReplayGroup { topic: row.get(0), status: row.get(1), rows });
        }
    }
    Ok(preview)
}

/// The topic and the key of a row, as SQL.
struct RouteSql {
    topic: String,
    key: String,
}

impl RouteSql {
    fn new(
        names: &Names,
        types: &ColumnTypes,
        topic: &[TemplatePart<'_>],
        key: &[TemplatePart<'_>],
    ) -> RouteSql {
        let columns = &names.columns;
        let key_template = template_sql(types, key);
        let own_key = text(types, &columns.partition_key);
        let topic =
            format!("coalesce(nullif({}, ''), {})", text(types, &columns.topic), template_sql(types, topic));
        let key_sql = format!("coalesce({own_key}, {key_template})");
        // With a key template that is one column, NULL makes a record without a key. With any other, it fails the row.
        let topic = match key {
            [TemplatePart::Column(_)] => topic,
            _ => format!("case when {key_sql} is not null then {topic} end"),
        };
        RouteSql { topic, key: key_sql }
    }
}

/// A template as SQL: NULL if one of its columns is.
fn template_sql(types: &ColumnTypes, template: &[TemplatePart<'_>]) -> String {
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
        // A cast to text would remove trailing blanks, which belong to the value.
        Some("character") => format!("case when {column} is not null then concat({column}) end"),
        Some(_) => format!("{column}::text"),
    }
}

/// The selected rows with their routes.
fn selected_sql(conditions: &SelectionSql<'_>, route: &RouteSql) -> String {
    let limited = conditions
        .selection
        .rows_max
        .map_or_else(String::new, |rows_max| format!(" order by {} limit {rows_max}", conditions.order()));
    format!(
        r#"select {topic} as topic, {key} as "key", o.{status}::text as status, {created_at} as created_at,
                  {is_held} as is_held
           from {from} where {condition}{limited}"#,
        topic = route.topic,
        key = route.key,
        status = identifier(&conditions.names.columns.status),
        created_at = created_at(conditions),
        is_held = conditions.is_held(),
        from = conditions.from(),
        condition = conditions.all(),
    )
}

fn created_at(conditions: &SelectionSql<'_>) -> String {
    match conditions.created_at_type {
        CreatedAtType::Absent => "null::timestamptz".to_owned(),
        CreatedAtType::Zoned | CreatedAtType::Naive => conditions.created_at(),
    }
}

fn groups_sql(conditions: &SelectionSql<'_>, route: &RouteSql) -> String {
    format!(
        "select topic, status, is_held, count(*) from ({}) as selected group by 1, 2, 3 order by 1, 2, 3",
        selected_sql(conditions, route)
    )
}

// Published rows are read only if they are newer than the newest row of the first key.
fn keys_sql(conditions: &SelectionSql<'_>, route: &RouteSql) -> String {
    let selected = selected_sql(conditions, route);
    if conditions.created_at_type == CreatedAtType::Absent {
        return format!(
            r#"select count(distinct (topic, "key")), null::int8 from ({selected}) as selected
               where not is_held and topic is not null and "key" is not null"#
        );
    }
    format!(
        r#"with sent as materialized (
               select topic, "key", max(created_at) as newest from ({selected}) as selected
               where not is_held and topic is not null and "key" is not null
               group by topic, "key"
           ), later as (
               select {topic} as topic, {key} as "key", max({created_at}) as newest from {from}
               where o.{status}::text in ('PUBLISH', 'COMPLETE')
                   and {created_at} > (select min(newest) from sent)
               group by 1, 2
           )
           select (select count(*) from sent),
                  (select count(*) from sent join later using (topic, "key") where later.newest > sent.newest)"#,
        topic = route.topic,
        key = route.key,
        created_at = created_at(conditions),
        from = conditions.from(),
        status = identifier(&conditions.names.columns.status),
    )
}
