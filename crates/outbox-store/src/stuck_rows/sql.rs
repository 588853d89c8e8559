//! Names and expressions of the table, over the alias `o`.

use outbox::CreatedRange;

use crate::connection::names::Names;
use crate::connection::quote::{identifier, literal, table};
use crate::stuck_rows::filter::StuckRowFilter;

#[derive(Clone, Debug)]
pub(crate) struct Sql {
    pub(crate) table: String,
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) attempts: String,
    pub(crate) topic: String,
    pub(crate) partition: String,
    pub(crate) offset: String,
    /// As times with a zone, whatever the columns are.
    pub(crate) last_attempt_at: String,
    published_at: String,
    /// `None`: the table has no such column.
    pub(crate) created_at: Option<Time>,
    /// Whether the row does not wait behind another of its key.
    pub(crate) not_held: String,
    /// Whether the row has a position.
    pub(crate) placed: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Time {
    pub(crate) column: String,
    with_zone: bool,
}

impl Sql {
    pub(crate) fn new(names: &Names, created_at_type: Option<&str>) -> Sql {
        let columns = &names.columns;
        let column = |name: &str| format!("o.{}", identifier(name));
        let (id, topic, partition, offset) = (
            column(&columns.id),
            column(&columns.kafka_topic),
            column(&columns.kafka_partition),
            column(&columns.kafka_offset),
        );
        let slot = literal(&names.slot);
        Sql {
            not_held: format!(
                "not exists (select from postrider.held h where h.slot = {slot} and h.id = {id})"
            ),
            placed: format!(
                "({topic} is not null and {partition} is not null and coalesce({offset} >= 0, false))"
            ),
            table: table(&names.table),
            status: column(&columns.status),
            attempts: column(&columns.attempts),
            last_attempt_at: format!("{}::timestamptz", column(&columns.last_attempt_at)),
            published_at: format!("{}::timestamptz", column(&columns.published_at)),
            created_at: created_at_type.map(|of| Time {
                column: column(&columns.created_at),
                with_zone: of == "timestamp with time zone",
            }),
            id,
            topic,
            partition,
            offset,
        }
    }

    /// What holds for a row as a whole, whatever page it is on.
    pub(crate) fn condition(&self, of: &StuckRowFilter) -> String {
        let Sql { status, not_held, last_attempt_at, .. } = self;
        let mut condition = format!("{status}::text = '{}' and {not_held}", of.status);
        if let Some(time) = self.created_at.as_ref().filter(|_| of.created != CreatedRange::of(None)) {
            let CreatedRange { from_us, to_us } = of.created;
            let (column, from, to) = (&time.column, time.literal(from_us), time.literal(to_us));
            condition.push_str(&format!(" and {column} >= {from} and {column} <= {to}"));
        }
        if let Some((from_us, to_us)) = of.attempted {
            let (from, to) = (instant(from_us), instant(to_us));
            condition.push_str(&format!(" and {last_attempt_at} >= {from} and {last_attempt_at} <= {to}"));
        }
        if let Some(waited_us) = of.waited_us {
            condition.push_str(&format!(" and not {}", self.not_yet_due(waited_us)));
        }
        condition
    }

    /// For how many microseconds a row has waited; NULL where it has no time.
    pub(crate) fn waited(&self) -> String {
        let Sql { last_attempt_at, published_at, .. } = self;
        let created = match &self.created_at {
            Some(time) => format!("{}::timestamptz", time.column),
            None => "null".to_owned(),
        };
        let since = format!("coalesce({last_attempt_at}, {published_at}, {created})");
        format!(
            "case when isfinite({since}) then {} end",
            micros(&format!("statement_timestamp() - {since}"))
        )
    }

    /// Whether a row has waited for less than this.
    pub(crate) fn not_yet_due(&self, waited_us: i64) -> String {
        format!("coalesce({} < '{waited_us}'::int8, false)", self.waited())
    }

    /// Whether a row's position is in one of these partitions; `None` stands for rows without a position.
    pub(crate) fn is_in(&self, partitions: &[Option<(String, i32)>]) -> String {
        let Sql { topic, partition, placed, .. } = self;
        let named = partitions.iter().flatten();
        let list: Vec<String> =
            named.map(|(topic, partition)| format!("({}, {partition})", literal(topic))).collect();
        let mut any = Vec::new();
        if !list.is_empty() {
            any.push(format!("{placed} and ({topic}::text, {partition}::int8) in ({})", list.join(", ")));
        }
        if partitions.contains(&None) {
            any.push(format!("not {placed}"));
        }
        if any.is_empty() { "false".to_owned() } else { format!("({})", any.join(" or ")) }
    }

    /// When a row was created, as the log's reader counts it: a time without a zone is one in UTC. NULL where there
    /// is no finite time.
    pub(crate) fn created_us(&self) -> String {
        match &self.created_at {
            Some(Time { column, .. }) => format!("case when isfinite({column}) then {} end", micros(column)),
            None => "null::int8".to_owned(),
        }
    }
}

impl Time {
    /// A number in the order of the times; the extremes of `int8` stand for the infinities.
    pub(crate) fn key(&self) -> String {
        let Time { column, .. } = self;
        format!(
            "case {column} when '-infinity' then '{}'::int8 when 'infinity' then '{}'::int8 else {} end",
            i64::MIN,
            i64::MAX,
            micros(column)
        )
    }

    /// The constant of the column's type that has this key.
    pub(crate) fn literal(&self, us: i64) -> String {
        if self.with_zone { instant(us) } else { local(us) }
    }
}

/// Microseconds since 1970-01-01 UTC, or those of an interval.
pub(crate) fn micros(expression: &str) -> String {
    format!("(extract(epoch from {expression}) * 1000000)::int8")
}

pub(crate) fn instant(us: i64) -> String {
    format!("({} at time zone 'UTC')", local(us))
}

/// Days and the rest are added apart: an interval is multiplied as a float, which does not hold the microseconds of
/// a far day.
fn local(us: i64) -> String {
    const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;
    // 4713 BC, with which timestamps begin (PostgreSQL documentation, "Date/Time Types").
    const FIRST_DAY: i64 = -2_440_588;
    let (days, rest) = (us.div_euclid(DAY_US), us.rem_euclid(DAY_US));
    if us == i64::MAX {
        "'infinity'::timestamp".to_owned()
    } else if days < FIRST_DAY {
        "'-infinity'::timestamp".to_owned()
    } else {
        format!(
            "('epoch'::timestamp + '{days}'::int8 * interval '1 day' + '{rest}'::int8 * interval '1 microsecond')"
        )
    }
}
