//! The selection of a replay, and its SQL conditions.

use outbox::Status;
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote::{identifier, literal, table};
use crate::connection::session::Session;
use crate::event_rows::ColumnTypes;

/// Selects the rows that match every condition. Times are microseconds since 1970-01-01 UTC.
///
/// Rows without `created_at` are selected only if neither `from_us` nor `to_us` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Rows with these ids; empty for any.
    pub ids: Vec<Uuid>,
    /// Rows in one of these states; empty for any.
    pub statuses: Vec<Status>,
    /// Created at this time or later.
    pub from_us: Option<i64>,
    /// Created before this time; `None`: before the request, unless `ids` are given.
    pub to_us: Option<i64>,
    /// With this `aggregate_type`.
    pub aggregate_type: Option<String>,
    /// With this `aggregate_id`.
    pub aggregate_id: Option<String>,
    /// At most this many rows, the oldest first.
    pub rows_max: Option<u64>,
}

/// The position of a row in the order of a replay: by `created_at` and `id`, with NULL last. -infinity and infinity are
/// the ends of `i64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowKey {
    /// Its `created_at`, in microseconds since 1970-01-01 UTC.
    pub created_at_us: Option<i64>,
    /// Its id.
    pub id: Uuid,
}

impl Selection {
    pub(crate) fn selects_undated(&self) -> bool {
        self.from_us.is_none() && self.to_us.is_none()
    }
}

/// The type of the `created_at` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CreatedAtType {
    /// There is no such column.
    Absent,
    Zoned,
    /// `timestamp without time zone`, read as UTC like the timestamp of a record.
    Naive,
}

impl CreatedAtType {
    pub(crate) async fn of_table(session: &Session, names: &Names) -> Result<CreatedAtType, StoreError> {
        Ok(CreatedAtType::of(&ColumnTypes::of_table(session, names).await?, names))
    }

    pub(crate) fn of(types: &ColumnTypes, names: &Names) -> CreatedAtType {
        match types.get(&names.columns.created_at) {
            None => CreatedAtType::Absent,
            Some("timestamp without time zone") => CreatedAtType::Naive,
            Some(_) => CreatedAtType::Zoned,
        }
    }

    /// A constant of the column's type.
    pub(crate) fn time(self, us: i64) -> String {
        let of = if self == CreatedAtType::Naive { "timestamp" } else { "timestamptz" };
        match us {
            i64::MAX => format!("{of} 'infinity'"),
            i64::MIN => format!("{of} '-infinity'"),
            us => format!("({of} 'epoch' + ({us}) * interval '1 microsecond')"),
        }
    }

    /// The current time by the clock that fills the column: one without a time zone has the wall clock time.
    pub(crate) fn now(self) -> &'static str {
        if self == CreatedAtType::Naive { "localtimestamp" } else { "now()" }
    }
}

/// The SQL for a timestamp in the microseconds of a [`RowKey`].
pub(crate) fn microseconds(time: &str) -> String {
    format!(
        "case when {time} is null then null when isfinite({time}) then (extract(epoch from {time}) * 1000000)::int8 \
         when {time} > 'epoch' then {}::int8 else '{}'::int8 end",
        i64::MAX,
        i64::MIN
    )
}

/// SQL conditions on the table under the alias `o`.
pub(crate) struct SelectionSql<'a> {
    pub(crate) names: &'a Names,
    pub(crate) created_at_type: CreatedAtType,
    pub(crate) selection: &'a Selection,
    /// The time of the request; `None`: now.
    pub(crate) requested_us: Option<i64>,
}

impl SelectionSql<'_> {
    /// Selected rows with `created_at`; `None` if there is no such column.
    pub(crate) fn dated(&self) -> Option<String> {
        if self.created_at_type == CreatedAtType::Absent {
            return None;
        }
        let created_at = self.created_at();
        let mut conditions = self.without_times();
        if let Some(from) = self.selection.from_us {
            conditions.push(format!("{created_at} >= {}", self.created_at_type.time(from)));
        }
        let requested = self
            .requested_us
            .map_or_else(|| self.created_at_type.now().to_owned(), |us| self.created_at_type.time(us));
        match self.selection.to_us {
            Some(to) => {
                conditions
                    .push(format!("{created_at} < least({}, {requested})", self.created_at_type.time(to)));
            }
            None if self.selection.ids.is_empty() => conditions.push(format!("{created_at} < {requested}")),
            None => conditions.push(format!("{created_at} is not null")),
        }
        Some(conditions.join(" and "))
    }

    /// Selected rows without `created_at`; `None` if none can be.
    pub(crate) fn undated(&self) -> Option<String> {
        if !self.selection.selects_undated() {
            return None;
        }
        let mut conditions = self.without_times();
        if self.created_at_type != CreatedAtType::Absent {
            conditions.push(format!("{} is null", self.created_at()));
        }
        Some(if conditions.is_empty() { "true".to_owned() } else { conditions.join(" and ") })
    }

    /// All selected rows, apart from `rows_max`.
    pub(crate) fn all(&self) -> String {
        let parts: Vec<String> =
            [self.dated(), self.undated()].into_iter().flatten().map(|part| format!("({part})")).collect();
        if parts.is_empty() { "false".to_owned() } else { parts.join(" or ") }
    }

    /// Whether a row is in a selected state.
    pub(crate) fn status(&self) -> Option<String> {
        let statuses: Vec<String> =
            self.selection.statuses.iter().map(|status| literal(status.as_str())).collect();
        (!statuses.is_empty()).then(|| {
            format!("o.{}::text in ({})", identifier(&self.names.columns.status), statuses.join(", "))
        })
    }

    /// The order of the rows.
    pub(crate) fn order(&self) -> String {
        let id = identifier(&self.names.columns.id);
        match self.created_at_type {
            CreatedAtType::Absent => format!("o.{id}"),
            CreatedAtType::Zoned | CreatedAtType::Naive => format!("{}, o.{id}", self.created_at()),
        }
    }

    pub(crate) fn created_at(&self) -> String {
        format!("o.{}", identifier(&self.names.columns.created_at))
    }

    pub(crate) fn from(&self) -> String {
        format!("{} as o", table(&self.names.table))
    }

    /// Whether the row is held behind another of its key.
    pub(crate) fn is_held(&self) -> String {
        format!(
            "exists (select from postrider.held as h where h.slot = {} and h.id = o.{} and not h.head)",
            literal(&self.names.slot),
            identifier(&self.names.columns.id)
        )
    }

    fn without_times(&self) -> Vec<String> {
        let columns = &self.names.columns;
        let mut conditions: Vec<String> = self.status().into_iter().collect();
        if !self.selection.ids.is_empty() {
            let ids: Vec<String> = self.selection.ids.iter().map(|id| format!("'{id}'")).collect();
            conditions.push(format!(
                "o.{} = any (array[{}]::uuid[])",
                identifier(&columns.id),
                ids.join(", ")
            ));
        }
        let texts = [
            (&columns.aggregate_type, &self.selection.aggregate_type),
            (&columns.aggregate_id, &self.selection.aggregate_id),
        ];
        for (column, text) in texts {
            if let Some(text) = text {
                conditions.push(format!("o.{}::text = {}", identifier(column), literal(text)));
            }
        }
        conditions
    }
}
