//! Records equal their rows, byte for byte.

use integration_tests::{NewRow, Stage, assert_delivered, wait_until};
use uuid::Uuid;

#[test]
fn payloads_arrive_byte_for_byte() {
    let stage = Stage::new();
    let large = format!("\"{}\"", "0123456789".repeat(90_000));
    let payloads = [
        r#"{"quote": "it's \"quoted\" and \\ escaped", "tab": "a\tb"}"#,
        r#"{"grüße": "日本語 🦀 é", "combining": "é"}"#,
        r#"{"nested": {"a": [1, 2.50, -3e10, null, true]}}"#,
        "{}",
        "\"\"",
        "null",
        "12345678901234567890.000000000000000001",
        &large,
    ];
    let mut client = stage.client();
    for (number, payload) in payloads.iter().enumerate() {
        let row = NewRow { payload: Some((*payload).to_owned()), ..NewRow::of("doc", number, 0) };
        row.insert(&mut client).expect("inserted");
    }
    let tombstone = NewRow { payload: None, ..NewRow::of("doc", "tombstone", 0) };
    tombstone.insert(&mut client).expect("inserted");

    let relay = stage.relay();
    wait_until("every row is published", || stage.count("PUBLISH") == payloads.len() as i64 + 1);
    let records = assert_delivered(&stage);
    let record = records.iter().find(|record| record.id() == tombstone.id).expect("there");
    assert_eq!(record.value, None, "NULL is a tombstone");
    assert!(relay.stop().success());
}

#[test]
fn record_has_the_headers_and_created_at_of_its_row() {
    let stage = Stage::new();
    let headers = r#"{"trace": "00-abc", "n": 1.50, "no": null, "o": {"a": [1]}, "id": "mine", "": "empty"}"#;
    let row = NewRow { headers: Some(headers.to_owned()), ..NewRow::of("order", "o-1", 1) };
    stage.insert(&row);
    let mut client = stage.client();
    let sql = "select (extract(epoch from created_at) * 1000)::int8 from outbox";

    let relay = stage.relay();
    wait_until("the row is published", || stage.count("PUBLISH") == 1);
    let records = assert_delivered(&stage);
    let record = &records[0];
    let text = |name: &str| record.header(name).map(|value| String::from_utf8_lossy(value).into_owned());
    assert_eq!(text("id"), Some(row.id.to_string()), "our own header wins");
    assert_eq!(text("aggregate_type").as_deref(), Some("order"));
    assert_eq!(text("event_type").as_deref(), Some("happened"));
    assert_eq!(text("trace").as_deref(), Some("00-abc"));
    assert_eq!(text("n").as_deref(), Some("1.50"));
    assert_eq!(text("no").as_deref(), Some("null"));
    assert_eq!(text("o").as_deref(), Some(r#"{"a": [1]}"#));
    assert_eq!(text("").as_deref(), Some("empty"));
    assert_eq!(record.headers.len(), 8, "{:?}", record.headers);
    let created_ms: i64 = client.query_one(sql, &[]).expect("the row is there").get(0);
    let record_ms = record.timestamp_ms.expect("a timestamp");
    assert!((record_ms - created_ms).abs() <= 1, "{record_ms} is {created_ms}, but for rounding");
    assert!(relay.stop().success());
}

#[test]
fn topic_and_key_columns_override_the_templates() {
    let stage = Stage::new();
    let (id, topic) = (Uuid::now_v7(), stage.topic("by-column"));
    stage
        .client()
        .execute(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload, topic, partition_key) \
             values ($1, 'x', 'a', 'e', '1', $2, 'the-key')",
            &[&id, &topic],
        )
        .expect("inserted");
    let relay = stage.relay();
    wait_until("the row is published", || stage.count("PUBLISH") == 1);
    let records = stage.records();
    assert_eq!((records[0].id(), &records[0].topic), (id, &topic));
    assert_eq!(records[0].key.as_deref(), Some(&b"the-key"[..]));
    assert!(relay.stop().success());
}

#[test]
fn text_json_and_bytea_payloads_arrive_as_their_own_bytes() {
    let cases: [(&str, &str, &[u8]); 3] = [
        ("bytea", "'\\x00ff10'::bytea", b"\x00\xff\x10"),
        ("text", "''", b""),
        ("json", "'{ \"b\":1,  \"a\":2, \"a\":3 }'", b"{ \"b\":1,  \"a\":2, \"a\":3 }"),
    ];
    for (kind, literal, bytes) in cases {
        let stage = Stage::new();
        let mut client = stage.client();
        let sql = format!(
            "alter table outbox alter column payload type {kind} using null;
             insert into outbox (id, aggregate_type, aggregate_id, event_type, payload)
             values (gen_random_uuid(), 'x', 'a', 'e', {literal})"
        );
        client.batch_execute(&sql).expect("altered and inserted");
        let relay = stage.relay();
        wait_until("the row is published", || stage.count("PUBLISH") == 1);
        assert_eq!(stage.records()[0].value.as_deref(), Some(bytes), "{kind}");
        assert!(relay.stop().success());
    }
}
