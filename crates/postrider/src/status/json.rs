//! The report as JSON, with the names that `--help` documents.

use std::time::Duration;

use outbox_store::{HeldKeyReport, HeldReport, ReplayReport, RowsReport, StateRows};
use serde_json::{Map, Value, json};

use super::report::{GroupLag, Section, Slot, StatusReport};
use super::units::rfc3339;

pub(crate) fn json(report: &StatusReport) -> Value {
    let mut unavailable = Map::new();
    let mut part = |name: &str, section: Section<Value>| {
        section.unwrap_or_else(|reason| {
            unavailable.insert(name.to_owned(), Value::from(reason));
            Value::Null
        })
    };
    let rows = report.rows.as_ref().map_err(String::clone);
    let waiting_overdue = report.held.as_ref().map_or(0, |held| held.overdue);
    let rows_json = part("rows", rows.clone().map(self::rows));
    let stuck = part("stuck", rows.clone().map(|rows| self::stuck(report, rows, waiting_overdue)));
    let failed = part("failed", rows.map(self::failed));
    let receipts = part("receipts", as_json(&report.receipts, |groups| groups.iter().map(group).collect()));
    let held = part("held", as_json(&report.held, self::held));
    let replays = part("replays", as_json(&report.replays, |replays| replays.iter().map(replay).collect()));
    json!({
        "table": report.table,
        "rows": rows_json,
        "slot": slot(&report.slot),
        "receipts": receipts,
        "stuck": stuck,
        "failed": failed,
        "held": held,
        "replays": replays,
        "unavailable": unavailable,
    })
}

fn as_json<T>(section: &Section<T>, json: impl FnOnce(&T) -> Value) -> Section<Value> {
    section.as_ref().map(json).map_err(String::clone)
}

fn seconds(duration: Option<Duration>) -> Value {
    duration.map_or(Value::Null, |duration| Value::from(duration.as_secs_f64()))
}

fn rows(rows: &RowsReport) -> Value {
    let state = |of: &StateRows| json!({ "count": of.rows, "oldest_seconds": seconds(of.oldest) });
    json!({
        "INIT": state(&rows.init),
        "PUBLISH": state(&rows.publish),
        "COMPLETE": state(&rows.complete),
        "FAILED": state(&rows.failed),
        "other": state(&rows.other),
    })
}

fn stuck(report: &StatusReport, rows: &RowsReport, waiting: u64) -> Value {
    let state = |of: &StateRows, after: Duration| {
        json!({
            "count": of.overdue,
            "oldest_seconds": seconds(of.overdue_oldest),
            "after_seconds": after.as_secs_f64(),
        })
    };
    let mut init = state(&rows.init, report.init_after);
    init["held"] = Value::from(waiting);
    json!({ "INIT": init, "PUBLISH": state(&rows.publish, report.publish_after) })
}

fn failed(rows: &RowsReport) -> Value {
    let newest = rows.failed_newest.iter();
    json!({
        "count": rows.failed.rows,
        "newest": newest
            .map(|row| json!({ "id": row.id.to_string(), "last_error": row.last_error }))
            .collect::<Vec<_>>(),
    })
}

fn slot(slot: &Slot) -> Value {
    let state = slot.state.as_ref();
    json!({
        "name": slot.name,
        "exists": state.is_some(),
        "active": state.map(|slot| slot.active),
        "wal_status": state.and_then(|slot| slot.wal_status.as_deref()),
        "retained_bytes": state.map(|slot| slot.retained_bytes),
        "confirmed_lsn": state.and_then(|slot| slot.confirmed).map(|lsn| lsn.to_string()),
        "lag_bytes": state.and_then(|slot| slot.lag_bytes),
    })
}

fn group(lag: &GroupLag) -> Value {
    let worst = lag.worst.as_ref();
    json!({
        "group": lag.group,
        "own": lag.own,
        "records": lag.records,
        "worst": worst.map(|worst| {
            json!({ "topic": worst.topic, "partition": worst.partition, "records": worst.records })
        }),
    })
}

fn held(held: &HeldReport) -> Value {
    let lane = |of: &HeldKeyReport| {
        json!({
            "topic": of.lane.topic,
            "key": String::from_utf8_lossy(&of.lane.key),
            "head": of.head.map(|id| id.to_string()),
            "waiting": of.waiting,
            "held_seconds": of.held.as_secs_f64(),
        })
    };
    json!({
        "keys": held.lanes_total,
        "waiting": held.waiting,
        "longest": held.lanes.iter().map(lane).collect::<Vec<_>>(),
        "failed_without_row": held.without_row.iter()
            .map(|row| json!({ "id": row.id.to_string(), "last_error": row.last_error }))
            .collect::<Vec<_>>(),
    })
}

fn replay(replay: &ReplayReport) -> Value {
    json!({
        "id": replay.id.to_string(),
        "kind": replay.kind,
        "state": replay.state,
        "requested_at": rfc3339(replay.requested_at_us),
        "requested_by": replay.requested_by,
        "rows_total": replay.rows_total,
        "rows_sent": replay.rows_sent,
        "rows_failed": replay.rows_failed,
        "rows_passed": replay.rows_passed,
        "last_error": replay.last_error,
    })
}
