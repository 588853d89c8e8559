//! `postrider status` on a database and a Kafka that a test made up.

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;

use crate::outbox::{Outbox, id, kafka, topic_of_rows};
use crate::postrider::{Place, postgres};

/// Commits as a group, without joining it.
fn commit(group: &str, topic: &str, offset: i64) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka().brokers())
        .set("group.id", group)
        .create()
        .unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    consumer.commit(&offsets, CommitMode::Sync).unwrap();
}

fn assert_at(json: &Value, expected: &[(&str, Value)]) {
    for (pointer, expected) in expected {
        assert_eq!(json.pointer(pointer), Some(expected), "{pointer} in {json:#}");
    }
}

#[test]
fn status_shows_every_section() {
    let outbox = Outbox::new(kafka());
    let (slot, topic) = (&outbox.database, topic_of_rows(kafka(), &[Some("1"); 10]));
    let (own, billing, none) = (format!("{slot}-own"), format!("{slot}-billing"), format!("{slot}-none"));
    commit(&own, &topic, 9);
    commit(&billing, &topic, 4);
    let rows = [
        // Fresh, overdue, and overdue because its key is held back.
        (0, "INIT", "now()", "null", "null"),
        (1, "INIT", "now() - interval '2 minutes'", "null", "null"),
        (2, "INIT", "now() - interval '3 minutes'", "null", "null"),
        // Old, but sent a moment ago; old and never sent again; older still.
        (3, "PUBLISH", "now() - interval '1 hour'", "now()", "null"),
        (4, "PUBLISH", "now() - interval '6 minutes'", "null", "null"),
        (5, "PUBLISH", "now() - interval '1 hour'", "now() - interval '10 minutes'", "null"),
        (6, "COMPLETE", "now() - interval '2 hours'", "null", "null"),
        (7, "FAILED", "now() - interval '1 hour'", "now() - interval '5 minutes'", "'the older one'"),
        (8, "FAILED", "now() - interval '2 hours'", "now()", "'the newest'"),
        (9, "odd", "'infinity'", "null", "null"),
    ];
    for (number, status, created_at, last_attempt_at, last_error) in rows {
        outbox.sql(&format!(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type, status, created_at, last_attempt_at,
                                 last_error)
             values ('{}', 'order', 'k', 'placed', '{status}', {created_at}, {last_attempt_at}, {last_error})",
            id(number)
        ));
    }
    outbox.sql(&format!(
        "insert into postrider.progress values ('{slot}', '{topic}', 0, 9, now()), ('other', 'none', 0, 9, now());
         insert into postrider.held (slot, id, topic, key, head, held_at)
         values ('{slot}', '{head}', '{topic}', 'k', true, now() - interval '4 minutes'),
                ('{slot}', '{waits}', '{topic}', 'k', false, now() - interval '3 minutes'),
                ('other', '{head}', '{topic}', 'k', true, now());
         insert into postrider.replay (id, slot, state, requested_at, requested_by, finished_at, rows_total, rows_sent)
         select ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, '{slot}',
                case when n = 1 then 'running' when n = 2 then 'queued' else 'done' end,
                '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 s', 'ops',
                case when n > 2 then '2026-01-02'::timestamptz + n * interval '1 s' end, 100, n
         from generate_series(1, 10) as n;
         insert into postrider.replay (id, slot) values (gen_random_uuid(), 'other')",
        head = id(7),
        waits = id(2),
    ));
    let place = outbox
        .place
        .variable("POSTRIDER_RECEIPTS_GROUP", &own)
        .variable("POSTRIDER_RECEIPTS_FOLLOW", &format!("{none},{billing}"));
    let outbox = Outbox { place, database: outbox.database.clone() };
    let (run, json) = outbox.json(&["status", "--json"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert_at(
        &json,
        &[
            ("/table", "public.outbox".into()),
            ("/rows/INIT/count", 3.into()),
            ("/rows/PUBLISH/count", 3.into()),
            ("/rows/COMPLETE/count", 1.into()),
            ("/rows/FAILED/count", 2.into()),
            ("/rows/other/count", 1.into()),
            ("/rows/other/oldest_seconds", Value::Null),
            ("/slot/name", slot.as_str().into()),
            ("/slot/exists", true.into()),
            ("/slot/active", false.into()),
            ("/slot/wal_status", "reserved".into()),
            ("/receipts/0/group", own.as_str().into()),
            ("/receipts/0/own", true.into()),
            ("/receipts/0/records", 1.into()),
            ("/receipts/1/group", billing.as_str().into()),
            ("/receipts/1/records", 6.into()),
            ("/receipts/1/worst/topic", topic.as_str().into()),
            ("/receipts/1/worst/partition", 0.into()),
            ("/receipts/1/worst/records", 6.into()),
            ("/receipts/2/group", none.as_str().into()),
            ("/receipts/2/records", 10.into()),
            ("/stuck/INIT/count", 2.into()),
            ("/stuck/INIT/held", 1.into()),
            ("/stuck/INIT/after_seconds", 60.0.into()),
            ("/stuck/PUBLISH/count", 2.into()),
            ("/failed/count", 2.into()),
            ("/failed/newest/0/id", id(8).into()),
            ("/failed/newest/0/last_error", "the newest".into()),
            ("/failed/newest/1/last_error", "the older one".into()),
            ("/held/keys", 1.into()),
            ("/held/waiting", 1.into()),
            ("/held/longest/0/topic", topic.as_str().into()),
            ("/held/longest/0/key", "k".into()),
            ("/held/longest/0/head", id(7).into()),
            ("/held/longest/0/waiting", 1.into()),
            ("/unavailable", serde_json::json!({})),
        ],
    );
    let number = |pointer: &str| json.pointer(pointer).and_then(Value::as_f64).unwrap();
    for (pointer, seconds) in [
        ("/rows/INIT/oldest_seconds", 180.0),
        ("/rows/COMPLETE/oldest_seconds", 7200.0),
        ("/stuck/INIT/oldest_seconds", 180.0),
        ("/stuck/PUBLISH/oldest_seconds", 600.0),
        ("/held/longest/0/held_seconds", 240.0),
    ] {
        assert!((seconds..seconds + 100.0).contains(&number(pointer)), "{pointer}: {}", number(pointer));
    }
    assert!(number("/slot/lag_bytes") > 0.0 && number("/slot/retained_bytes") > 0.0);
    let replays = json["replays"].as_array().unwrap();
    let numbers: Vec<_> = replays.iter().map(|replay| replay["rows_sent"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 10, 9, 8, 7, 6]);
    assert_eq!(
        (&replays[0]["state"], &replays[0]["rows_total"], &replays[0]["requested_at"]),
        (&"running".into(), &100.into(), &"2026-01-01T00:00:01Z".into())
    );

    let run = outbox.place.run(&["status"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    for expected in [
        "Rows of public.outbox\n  INIT        3  oldest 3m",
        &format!("Slot {slot}\n  read        no\n"),
        "6 records behind, in ",
        "2 for more than 1m, one for 3m",
        "1 of them held back",
        "the newest\n",
        "1 key, with 1 waiting",
        "1 sent of 100, asked for 2026-01-01 00:00:01Z by ops",
    ] {
        assert!(run.out.contains(expected), "{expected}: {}", run.out);
    }
}

#[test]
fn status_without_kafka_shows_the_other_sections() {
    let outbox = Outbox::new(kafka());
    outbox.sql(&format!("insert into postrider.progress values ('{}', 't', 0, 9, now())", outbox.database));
    // Nothing listens on port 1 of the loopback.
    let place = outbox.place.variable("POSTRIDER_KAFKA_BROKERS", "127.0.0.1:1");
    let outbox = Outbox { place, database: outbox.database };
    let (run, json) = outbox.json(&["status", "--json"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert_at(&json, &[("/receipts", Value::Null), ("/rows/INIT/count", 0.into()), ("/held/keys", 0.into())]);
    let reason = json["unavailable"]["receipts"].as_str().unwrap();
    assert!(reason.contains("Kafka"), "{reason}");
    let run = outbox.place.run(&["status"]);
    assert!(run.out.contains("Receipts\n  not known: Kafka"), "{}", run.out);
    assert!(run.out.contains("Replays\n  none\n"), "{}", run.out);
}

#[test]
fn status_names_the_remedy_for_missing_objects() {
    let outbox = Outbox::without_init(kafka());
    for arguments in [&["status"][..], &["status", "--json"]] {
        let run = outbox.place.run(arguments);
        assert_eq!(run.code, Some(1));
        assert!(run.out.contains("postrider init"), "{}", run.out);
        assert!(run.err.contains("public.outbox") && run.err.contains("postrider init"), "{}", run.err);
    }
    // The table, but no schema and no slot.
    let script = Place::for_url(&postgres().url(&outbox.database)).run(&["init", "--dry-run"]).out;
    let start = script.find("create table if not exists \"public\".\"outbox\"").unwrap();
    let table = &script[start..];
    outbox.sql(&table[..table.find(';').unwrap()]);
    let (run, json) = outbox.json(&["status", "--json"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert_at(
        &json,
        &[
            ("/rows/INIT/count", 0.into()),
            ("/slot/exists", false.into()),
            ("/slot/active", Value::Null),
            ("/held", Value::Null),
            ("/replays", Value::Null),
            ("/receipts", Value::Null),
        ],
    );
    for part in ["held", "replays", "receipts"] {
        assert!(json["unavailable"][part].as_str().unwrap().contains("postrider init"), "{json:#}");
    }
}

#[test]
fn a_pure_relay_has_a_slot_and_no_states() {
    let outbox = Outbox::without_init(kafka());
    let place = outbox.place.variable("POSTRIDER_WRITEBACK_ENABLED", "false");
    let outbox = Outbox { place, database: outbox.database };
    assert_eq!(outbox.place.run(&["init"]).code, Some(0));
    let (run, json) = outbox.json(&["status", "--json"]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    assert_at(&json, &[("/slot/exists", true.into()), ("/rows", Value::Null), ("/receipts", Value::Null)]);
    assert!(json["unavailable"]["rows"].as_str().unwrap().contains("writeback.enabled"), "{json:#}");
}

#[test]
fn a_database_that_is_away_is_a_failure() {
    let run = Place::for_url("postgres://shop@127.0.0.1:1/shop").run(&["status", "--json"]);
    assert_eq!((run.code, run.out.as_str()), (Some(1), ""));
    assert!(run.err.contains("connecting to PostgreSQL"), "{}", run.err);
}
