//! `postrider verify` on rows and records that a test made up.

use std::time::Instant;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use testbed::Kafka;

use crate::outbox::{Outbox, id, kafka, topic_of_rows};
use crate::postrider::{Place, postgres};

fn admin(kafka: &Kafka) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", kafka.brokers()).create().unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn what_is_there_is_proven_tombstones_and_odd_payloads_too() {
    let payloads = [Some(r#"{"a": 1}"#), None, Some("\"é\\u0001\""), Some("1.50"), Some("null")];
    let topic = topic_of_rows(kafka(), &payloads);
    let outbox = Outbox::new(kafka());
    for (number, payload) in payloads.into_iter().enumerate() {
        outbox.published(number, &topic, number, payload);
    }
    outbox.sql(&format!("update outbox set status = 'COMPLETE' where id = '{}'", id(0)));
    let run = outbox.place.run(&["verify"]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{}", run.out);
    assert!(run.out.starts_with("public.outbox: 5 rows in "), "{}", run.out);
    assert!(run.out.contains("\n  proven      5\n  missing     0\n"), "{}", run.out);
    let (run, json) = outbox.json(&["verify", "--json", "--sample", "3"]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    assert_eq!((&json["rows"], &json["proven"], &json["sample"]), (&3.into(), &3.into(), &3.into()));
}

#[test]
fn payloads_of_every_type_are_compared_as_the_log_sends_them() {
    for (of, payloads) in [
        ("bytea", ["plain", "{}"]),
        ("text", ["line\nbreak", " blanks "]),
        ("json", [r#"{"b":1,  "a":2,"a":3}"#, "[1 ]"]),
        ("varchar", ["x", ""]),
    ] {
        let outbox = Outbox::new(kafka());
        outbox.sql(&format!("alter table outbox alter column payload type {of} using null"));
        let payloads = payloads.map(Some);
        let topic = topic_of_rows(kafka(), &payloads);
        for (number, payload) in payloads.into_iter().enumerate() {
            outbox.published(number, &topic, number, payload);
        }
        let run = outbox.place.run(&["verify"]);
        assert_eq!(run.code, Some(0), "{of}: {} {}", run.out, run.err);
    }
}

#[test]
fn verify_distinguishes_every_kind_of_finding() {
    let topic = topic_of_rows(kafka(), &[Some("1"); 8]);
    let outbox = Outbox::new(kafka());
    for number in 0..8 {
        outbox.published(number, &topic, number, Some("1"));
    }
    // 0 is proven.
    outbox.sql(&format!(
        "update outbox set kafka_offset = 0 where id = '{}';
         update outbox set payload = '[2]' where id = '{}';
         update outbox set payload = null where id = '{}';
         update outbox set kafka_offset = 8 where id = '{}';
         update outbox set kafka_offset = null where id = '{}';
         update outbox set kafka_topic = 'program-none' where id = '{}';
         update outbox set kafka_partition = 1, status = 'COMPLETE' where id = '{}'",
        id(1),
        id(2),
        id(3),
        id(4),
        id(5),
        id(6),
        id(7)
    ));
    let (run, json) = outbox.json(&["verify", "--json"]);
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("7 of 8 rows are not proven: 4 missing, 3 mismatched"), "{}", run.err);
    let counts = ["rows", "proven", "missing", "mismatched", "expired", "findings_left_out"];
    assert_eq!(counts.map(|name| json[name].as_u64().unwrap()), [8, 1, 4, 3, 0, 0]);
    let findings = json["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 7);
    for (number, verdict, found) in [
        (1, "mismatched", format!("the record's id is {}", id(0))),
        (
            2,
            "mismatched",
            "the row's payload has 3 bytes, the record's 1, the first difference at byte 0".to_owned(),
        ),
        (3, "mismatched", "the row's payload is NULL, the record is no tombstone".to_owned()),
        (4, "missing", "the partition ends at offset 8".to_owned()),
        (5, "missing", "the row has no topic, partition or offset".to_owned()),
        (6, "missing", "there is no such topic".to_owned()),
        (7, "missing", "the topic has no such partition".to_owned()),
    ] {
        let finding = findings.iter().find(|finding| finding["id"] == id(number)).unwrap();
        assert_eq!((&finding["verdict"], &finding["found"]), (&verdict.into(), &found.into()));
    }
    let complete = findings.iter().find(|finding| finding["id"] == id(7)).unwrap();
    assert_eq!((&complete["status"], &complete["partition"]), (&"COMPLETE".into(), &1.into()));
    let run = outbox.place.run(&["verify"]);
    assert_eq!(run.code, Some(1));
    assert!(run.out.contains(&format!("{}  PUBLISH   missing     {topic} [0] @ 8: ", id(4))), "{}", run.out);
}

#[test]
fn what_retention_took_is_expired_and_no_failure() {
    let topic = topic_of_rows(kafka(), &[Some("1"); 4]);
    let outbox = Outbox::new(kafka());
    for number in 0..4 {
        outbox.published(number, &topic, number, Some("1"));
    }
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&topic, 0, Offset::Offset(3)).unwrap();
    block_on(admin(kafka()).delete_records(&before, &AdminOptions::new())).unwrap();
    let run = outbox.place.run(&["verify"]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{}", run.out);
    assert!(run.out.contains("\n  expired     3  deleted by the topic's retention\n"), "{}", run.out);
    assert!(run.out.contains("the partition begins at offset 3"), "{}", run.out);
    let (_, json) = outbox.json(&["verify", "--json"]);
    assert_eq!((&json["proven"], &json["expired"]), (&1.into(), &3.into()));
}

#[test]
fn a_deleted_topic_is_missing_and_is_not_made_again() {
    let topic = topic_of_rows(kafka(), &[Some("1")]);
    let outbox = Outbox::new(kafka());
    outbox.published(0, &topic, 0, Some("1"));
    block_on(admin(kafka()).delete_topics(&[&topic], &AdminOptions::new())).unwrap();
    for _ in 0..2 {
        let (run, json) = outbox.json(&["verify", "--json"]);
        assert_eq!((run.code, &json["missing"]), (Some(1), &1.into()), "{}", run.err);
        assert_eq!(json["findings"][0]["found"], "there is no such topic");
    }
}

#[test]
fn only_the_rows_that_were_asked_for_are_looked_at() {
    let outbox = Outbox::new(kafka());
    let topic = topic_of_rows(kafka(), &[Some("1"); 2]);
    outbox.published(0, &topic, 0, Some("1"));
    outbox.published(1, &topic, 1, Some("1"));
    outbox.sql(&format!("update outbox set created_at = '2026-01-01T12:00:00Z' where id = '{}'", id(0)));
    let rows = |arguments: &[&str]| {
        let (run, json) = outbox.json(&[&["verify", "--json"], arguments].concat());
        assert_eq!(run.code, Some(0), "{}", run.err);
        json["rows"].as_u64().unwrap()
    };
    assert_eq!(rows(&["--from", "2026-01-01T12:00:00Z"]), 2);
    assert_eq!(rows(&["--from", "2026-01-01T12:00:01Z"]), 1);
    assert_eq!(rows(&["--to", "2026-01-01T12:00:00Z"]), 0);
    assert_eq!(rows(&["--from", "2026-01-01", "--to", "2026-01-01 13:00:01+01:00"]), 1);
    assert_eq!(rows(&["--sample", "1"]), 1);
    let none = outbox.place.run(&["verify", "--to", "2026-01-01"]);
    assert_eq!(none.code, Some(0));
    assert!(none.out.contains("no row is PUBLISH or COMPLETE; nothing to prove"), "{}", none.out);
}

#[test]
fn verify_of_an_empty_outbox_needs_no_kafka() {
    let outbox = Outbox::new(kafka());
    let away = || Place::for_url(&postgres().url(&outbox.database));
    let run = away().run(&["verify"]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    outbox.published(0, "orders", 0, None);
    // Nothing listens on port 1 of the loopback.
    let run = away().run(&["verify"]);
    assert_eq!((run.code, run.out.as_str()), (Some(1), ""));
    assert!(run.err.contains("topic orders has not answered for 30 s"), "{}", run.err);
}

#[test]
fn arguments_that_mean_nothing_exit_2_before_anything_is_asked() {
    let place = Place::for_url("postgres://shop@127.0.0.1:1/shop");
    for (arguments, reason) in [
        (&["--from", "yesterday"][..], "2026-01-31T12:00:00Z"),
        (&["--to", "2026-13-01"], "2026-01-31T12:00:00Z"),
        (&["--from", "2026-01-02", "--to", "2026-01-01"], "is after --to"),
        (&["--sample", "0"], "0 is not in 1.."),
        (&["--sample", "some"], "invalid digit"),
    ] {
        let run = place.run(&[&["verify"], arguments].concat());
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{arguments:?}: {}", run.err);
        assert!(run.err.contains(reason), "{arguments:?}: {}", run.err);
    }
}

#[test]
fn without_a_table_or_write_back_nothing_can_be_proven() {
    let outbox = Outbox::without_init(kafka());
    let run = outbox.place.run(&["verify"]);
    assert_eq!((run.code, run.out.as_str()), (Some(1), ""));
    assert!(run.err.contains("run `postrider init`"), "{}", run.err);
    let run = outbox.place.variable("POSTRIDER_WRITEBACK_ENABLED", "false").run(&["verify"]);
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("writeback.enabled"), "{}", run.err);
}

/// How long a large outbox takes: `cargo test --release -p postrider --test program -- --ignored --nocapture million`.
#[test]
#[ignore = "a measurement, of minutes"]
fn a_million_rows() {
    const ROWS: usize = 1_000_000;
    const PARTITIONS: usize = 6;
    const PAD: usize = 370;
    let outbox = Outbox::new(kafka());
    kafka().create_topic("million", PARTITIONS as i32, &[]).unwrap();
    outbox.sql(&format!(
        r#"insert into outbox (id, aggregate_type, aggregate_id, event_type, payload, status, published_at,
                               kafka_topic, kafka_partition, kafka_offset, attempts, created_at, last_attempt_at)
           select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'order', 'k' || n, 'placed',
                  jsonb_build_object('n', n, 'pad', repeat('x', {PAD})),
                  case when n % 3 = 0 then 'PUBLISH' else 'COMPLETE' end, now(), 'million', n % {PARTITIONS},
                  n / {PARTITIONS}, 1, now() - interval '1 hour', now()
           from generate_series(0, {ROWS} - 1) as n;
           analyze outbox"#
    ));
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka().brokers())
        .set("queue.buffering.max.messages", "0")
        .set("queue.buffering.max.kbytes", "2000000")
        .create()
        .unwrap();
    for number in 0..ROWS {
        let payload = format!(r#"{{"n": {number}, "pad": "{}"}}"#, "x".repeat(PAD));
        let id = id(number);
        let headers = OwnedHeaders::new()
            .insert(Header { key: "id", value: Some(&id) })
            .insert(Header { key: "event_type", value: Some("placed") })
            .insert(Header { key: "aggregate_type", value: Some("order") });
        let record = BaseRecord::<str, str>::to("million").payload(&payload).headers(headers);
        producer.send(record.partition((number % PARTITIONS) as i32)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(std::time::Duration::from_secs(300)).unwrap();
    for arguments in [
        &["verify"][..],
        &["verify", "--json"],
        &["verify", "--sample", "1000"],
        &["verify", "--sample", "50"],
        &["status"],
        &["status", "--json"],
    ] {
        let begun_at = Instant::now();
        let run = outbox.place.run(arguments);
        eprintln!("{arguments:?} took {:?}\n{}{}", begun_at.elapsed(), run.out, run.err);
        assert_eq!(run.code, Some(0));
    }
}
