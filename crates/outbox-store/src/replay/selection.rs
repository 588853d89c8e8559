//! Which rows a replay is about, as SQL sees it.

use outbox::Status;
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote::{identifier, literal, table};
use crate::connection::session::Session;
use crate::event_rows::ColumnTypes;

/// Which rows are meant: those that meet every condition that is there. Times are microseconds since 1970-01-01 UTC.
///
/// Rows without a time of their own are meant where no time is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// These rows; none: any.
    pub ids: Vec<Uuid>,
    /// In one of these states; none: in any.
    pub statuses: Vec<Status>,
    /// Made at this time or later.
    pub from_us: Option<i64>,
    /// Made before this time; `None`: before the request was made, unless rows are named by their ids.
    pub to_us: Option<i64>,
    /// Of this kind of business object.
    pub aggregate_type: Option<String>,
    /// Of the business object with this key.
    pub aggregate_id: Option<String>,
    /// Not more than this many, the oldest first.
    pub rows_max: Option<u64>,
}

/// A row's place in the order of a replay: by time and then by id, those without a time after all others.
/// -infinity and infinity are the ends of `i64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowKey {
    /// When the row was made, in microseconds since 1970-01-01 UTC.
    pub created_at_us: Option<i64>,
    /// Its id.
    pub id: Uuid,
}

impl Selection {
    pub(crate) fn takes_undated(&self) -> bool {
        self.from_us.is_none() && self.to_us.is_none()
    }
}

/// What the table has for a row's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// No column.
    Absent,
    Zoned,
    /// `timestamp without time zone`, read as if it were UTC, as a record's timestamp is.
    Naive,
}

impl Clock {
    pub(crate) async fn of_table(session: &Session, names: &Names) -> Result<Clock, StoreError> {
        Ok(Clock::of(&ColumnTypes::of_table(session, names).await?, names))
    }

    pub(crate) fn of(types: &ColumnTypes, names: &Names) -> Clock {
        match types.get(&names.columns.created_at) {
            None => Clock::Absent,
            Some("timestamp without time zone") => Clock::Naive,
            Some(_) => Clock::Zoned,
        }
    }

    /// A constant of the column's type.
    pub(crate) fn time(self, us: i64) -> String {
        let of = if self == Clock::Naive { "timestamp" } else { "timestamptz" };
        match us {
            i64::MAX => format!("{of} 'infinity'"),
            i64::MIN => format!("{of} '-infinity'"),
            us => format!("({of} 'epoch' + ({us}) * interval '1 microsecond')"),
        }
    }

    /// The present, on the clock by which the service fills the column: a column without a zone has the wall clock's
    /// time.
    pub(crate) fn now(self) -> &'static str {
        if self == Clock::Naive { "localtimestamp" } else { "now()" }
    }
}

/// A time as [`RowKey`] has it.
pub(crate) fn microseconds(time: &str) -> String {
    format!(
        "case when {time} is null then null when isfinite({time}) then (extract(epoch from {time}) * 1000000)::int8 \
         when {time} > 'epoch' then {}::int8 else '{}'::int8 end",
        i64::MAX,
        i64::MIN
    )
}

/// Conditions over the table under the alias `o`.
pub(crate) struct Conditions<'a> {
    pub(crate) names: &'a Names,
    pub(crate) clock: Clock,
    pub(crate) selection: &'a Selection,
    /// When the request was made; `None`: now.
    pub(crate) requested_us: Option<i64>,
}

impl Conditions<'_> {
    /// Rows with a time that are meant; `None` where the table keeps none.
    pub(crate) fn dated(&self) -> Option<String> {
        if self.clock == Clock::Absent {
            return None;
        }
        let created_at = self.created_at();
        let mut conditions = self.but_times();
        if let Some(from) = self.selection.from_us {
            conditions.push(format!("{created_at} >= {}", self.clock.time(from)));
        }
        let requested =
            self.requested_us.map_or_else(|| self.clock.now().to_owned(), |us| self.clock.time(us));
        match self.selection.to_us {
            Some(to) => {
                conditions.push(format!("{created_at} < least({}, {requested})", self.clock.time(to)));
            }
            None if self.selection.ids.is_empty() => conditions.push(format!("{created_at} < {requested}")),
            None => conditions.push(format!("{created_at} is not null")),
        }
        Some(conditions.join(" and "))
    }

    /// Rows without a time that are meant; `None` where none of them can be.
    pub(crate) fn undated(&self) -> Option<String> {
        if !self.selection.takes_undated() {
            return None;
        }
        let mut conditions = self.but_times();
        if self.clock != Clock::Absent {
            conditions.push(format!("{} is null", self.created_at()));
        }
        Some(if conditions.is_empty() { "true".to_owned() } else { conditions.join(" and ") })
    }

    /// All rows that are meant, but for `rows_max`.
    pub(crate) fn all(&self) -> String {
        let parts: Vec<String> =
            [self.dated(), self.undated()].into_iter().flatten().map(|part| format!("({part})")).collect();
        if parts.is_empty() { "false".to_owned() } else { parts.join(" or ") }
    }

    /// Whether a row has one of the states asked for.
    pub(crate) fn status(&self) -> Option<String> {
        let statuses: Vec<String> =
            self.selection.statuses.iter().map(|status| literal(status.as_str())).collect();
        (!statuses.is_empty()).then(|| {
            format!("o.{}::text in ({})", identifier(&self.names.columns.status), statuses.join(", "))
        })
    }

    /// The order, and whether a row has a time is its first part.
    pub(crate) fn order(&self) -> String {
        let id = identifier(&self.names.columns.id);
        match self.clock {
            Clock::Absent => format!("o.{id}"),
            Clock::Zoned | Clock::Naive => format!("{}, o.{id}", self.created_at()),
        }
    }

    pub(crate) fn created_at(&self) -> String {
        format!("o.{}", identifier(&self.names.columns.created_at))
    }

    pub(crate) fn from(&self) -> String {
        format!("{} as o", table(&self.names.table))
    }

    /// Whether the row waits in line behind another of its key, which only that one's release ends.
    pub(crate) fn waits(&self) -> String {
        format!(
            "exists (select from postrider.held as h where h.slot = {} and h.id = o.{} and not h.head)",
            literal(&self.names.slot),
            identifier(&self.names.columns.id)
        )
    }

    fn but_times(&self) -> Vec<String> {
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
