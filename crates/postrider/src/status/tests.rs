use std::time::Duration;

use outbox::{Lsn, OrderingKey};
use outbox_store::{FailedRow, HeldKeyReport, HeldReport, ReplayReport, RowsReport, StateRows};
use serde_json::Value;
use uuid::Uuid;

use super::json::json;
use super::report::{GroupLag, PartitionLag, Slot, SlotReport, StatusReport};
use super::text::Text;

fn state(rows: u64, oldest_s: u64, overdue: u64) -> StateRows {
    let oldest = (rows > 0).then(|| Duration::from_secs(oldest_s));
    StateRows { rows, oldest, overdue, overdue_oldest: oldest.filter(|_| overdue > 0) }
}

fn busy() -> StatusReport {
    let id = Uuid::from_u128;
    StatusReport {
        table: "public.outbox".to_owned(),
        init_after: Duration::from_secs(60),
        publish_after: Duration::from_secs(300),
        rows: Ok(RowsReport {
            init: state(12, 192, 4),
            publish: state(3, 10, 0),
            complete: state(1_000_000, 93_784, 0),
            failed: state(2, 7200, 0),
            other: state(0, 0, 0),
            failed_newest: vec![
                FailedRow { id: id(1), last_error: Some("too\nlarge".to_owned()) },
                FailedRow { id: id(2), last_error: None },
            ],
        }),
        slot: Slot {
            name: "postrider".to_owned(),
            state: Some(SlotReport {
                active: true,
                wal_status: Some("reserved".to_owned()),
                retained_bytes: 1_288_490_189,
                confirmed: Some(Lsn::from_u64(0x1_0000_0010)),
                lag_bytes: Some(512),
            }),
        },
        receipts: Ok(vec![
            GroupLag { group: "outbox".to_owned(), own: true, records: 0, worst: None },
            GroupLag {
                group: "billing".to_owned(),
                own: false,
                records: 9,
                worst: Some(PartitionLag { topic: "orders".to_owned(), partition: 2, records: 7 }),
            },
        ]),
        held: Ok(HeldReport {
            without_row: Vec::new(),
            lanes_total: 1,
            waiting: 3,
            overdue: 2,
            lanes: vec![HeldKeyReport {
                lane: OrderingKey { topic: "orders".to_owned(), key: vec![b'k', 0xff].into() },
                head: Some(id(1)),
                waiting: 3,
                held: Duration::from_secs(75),
            }],
        }),
        replays: Ok(vec![ReplayReport {
            id: id(9),
            kind: "replay".to_owned(),
            state: "running".to_owned(),
            requested_at_us: 0,
            requested_by: "ops".to_owned(),
            rows_total: Some(100),
            rows_sent: 40,
            rows_failed: 1,
            rows_passed: 0,
            last_error: None,
        }]),
    }
}

#[test]
fn text_report_has_every_section() {
    let expected = "\
Rows of public.outbox
  INIT             12  oldest 3m 12s
  PUBLISH           3  oldest 10s
  COMPLETE    1000000  oldest 1day 2h
  FAILED            2  oldest 2h
  other             0

Slot postrider
  read        yes
  wal_status  reserved
  retained    1.2 GiB
  confirmed   1/10
  lag         512 B

Receipts
  outbox (ours)  0 records behind
  billing        9 records behind, 7 of them in orders [2]

Stuck
  INIT        4 for more than 1m, one for 3m 12s; 2 of them held back, see below
  PUBLISH     0 for more than 5m

Failed
  2 in all, the newest 2:
  00000000-0000-0000-0000-000000000001  too large
  00000000-0000-0000-0000-000000000002  no reason on the row

Held
  1 key, with 3 waiting
  orders key k\u{fffd}: 3 behind 00000000-0000-0000-0000-000000000001 for 1m 15s

Replays
  00000000-0000-0000-0000-000000000009  replay  running    40 sent of 100, 1 failed, asked for 1970-01-01 00:00:00Z by ops
";
    assert_eq!(Text(&busy()).to_string(), expected);
}

#[test]
fn a_machine_reads_every_section() {
    let json = json(&busy());
    for (pointer, expected) in [
        ("/table", Value::from("public.outbox")),
        ("/rows/INIT/count", 12.into()),
        ("/rows/INIT/oldest_seconds", 192.0.into()),
        ("/rows/other/oldest_seconds", Value::Null),
        ("/slot/exists", true.into()),
        ("/slot/active", true.into()),
        ("/slot/retained_bytes", 1_288_490_189.into()),
        ("/slot/confirmed_lsn", "1/10".into()),
        ("/slot/lag_bytes", 512.into()),
        ("/receipts/0/own", true.into()),
        ("/receipts/0/worst", Value::Null),
        ("/receipts/1/records", 9.into()),
        ("/receipts/1/worst/partition", 2.into()),
        ("/stuck/INIT/count", 4.into()),
        ("/stuck/INIT/held", 2.into()),
        ("/stuck/PUBLISH/after_seconds", 300.0.into()),
        ("/failed/count", 2.into()),
        ("/failed/newest/0/last_error", "too\nlarge".into()),
        ("/held/waiting", 3.into()),
        ("/held/longest/0/key", "k\u{fffd}".into()),
        ("/replays/0/rows_total", 100.into()),
        ("/replays/0/requested_at", "1970-01-01T00:00:00Z".into()),
        ("/unavailable", serde_json::json!({})),
    ] {
        assert_eq!(json.pointer(pointer), Some(&expected), "{pointer}");
    }
}

#[test]
fn json_report_has_null_and_a_reason_for_unavailable_sections() {
    let mut report = busy();
    report.rows = Err("no table".to_owned());
    report.receipts = Err("no answer".to_owned());
    report.held = Err("no schema".to_owned());
    report.slot.state = None;
    let json = json(&report);
    for (part, reason) in [
        ("rows", "no table"),
        ("stuck", "no table"),
        ("failed", "no table"),
        ("receipts", "no answer"),
        ("held", "no schema"),
    ] {
        assert_eq!((&json[part], &json["unavailable"][part]), (&Value::Null, &Value::from(reason)));
    }
    assert_eq!(json["slot"]["exists"], false);
    assert_eq!(json["slot"]["active"], Value::Null);
    let text = Text(&report).to_string();
    for expected in ["not known: no table", "not known: no answer", "does not exist; `postrider init`"] {
        assert!(text.contains(expected), "{text}");
    }
    assert!(!text.contains("Stuck"), "{text}");
}

#[test]
fn nothing_in_a_row_breaks_the_lines() {
    let mut report = busy();
    if let Ok(rows) = &mut report.rows {
        rows.failed_newest[0].last_error = Some(format!("\x1b[2J{}", "é".repeat(1000)));
    }
    let text = Text(&report).to_string();
    assert!(!text.contains('\x1b') && text.lines().all(|line| line.chars().count() < 220), "{text}");
}
