//! Records that the broker rejects.

use integration_tests::{NewRow, Stage, assert_keys_in_order, incompressible, wait_until};

#[test]
fn oversized_record_stops_the_relay_and_nothing_after_it_is_confirmed() {
    let stage = Stage::builder().setting("POSTRIDER_FAILURE_POLICY", "stop").build();
    stage.create_topic("small", 1, &[("max.message.bytes", "20000")]);
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    stage.insert(&NewRow::of("small", 1, 1));
    wait_until("the first row is published", || stage.count("PUBLISH") == 1);
    let before = stage.log_end();
    let payload = Some(format!("\"{}\"", incompressible(50_000)));
    let large = NewRow { payload, ..NewRow::of("small", 2, 2) };
    stage.insert(&large);
    let after = stage.log_end();
    for number in 3..10 {
        stage.insert(&NewRow::of("small", number, number));
    }

    relay.wait_until_failed();
    let log = relay.log();
    assert!(log.contains(&large.id.to_string()), "{log}");
    assert!(log.contains("max.message.bytes"), "{log}");
    assert!(stage.confirmed() < after, "{} is before {after}, begun at {before}", stage.confirmed());

    // A restart stops at the same row, until an operator marks it FAILED.
    stage.relay().wait_until_failed();
    let sql = "update outbox set status = 'FAILED', last_error = 'too large' where id = $1";
    stage.client().execute(sql, &[&large.id]).expect("marked");
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    wait_until("all others are published", || stage.count("PUBLISH") == 8);
    wait_until("the slot goes past the row", || stage.confirmed() > after);
    assert!(relay.stop().success());
    assert!(stage.records().iter().all(|record| record.id() != large.id));
}

/// The broker rejects the whole batch; the error names only the row of the rejected record.
#[test]
fn record_with_a_future_timestamp_stops_the_relay_and_only_its_row_is_named() {
    const ROWS: i64 = 100;
    let stage = Stage::builder().setting("POSTRIDER_FAILURE_POLICY", "stop").build();
    stage.create_topic("dated", 1, &[]);
    let mut client = stage.client();
    let mut transaction = client.transaction().expect("begins");
    let mut early = None;
    for number in 0..ROWS {
        let row = NewRow::of("dated", number % 3, number);
        if number == ROWS / 2 {
            let sql = "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload, created_at) \
                       values ($1, $2, $3, 'happened', $4::text::jsonb, now() + interval '3 days')";
            let values: [&(dyn postgres::types::ToSql + Sync); 4] =
                [&row.id, &row.aggregate_type, &row.aggregate_id, &row.payload];
            transaction.execute(sql, &values).expect("inserted");
            early = Some(row.id);
        } else {
            row.insert(&mut transaction).expect("inserted");
        }
    }
    transaction.commit().expect("commits");
    let early = early.expect("one row is from the future");
    let committed = stage.log_end();

    let mut relay = stage.relay();
    relay.wait_until_failed();
    let log = relay.log();
    for row in stage.rows() {
        assert_eq!(log.contains(&row.id.to_string()), row.id == early, "row {}:\n{log}", row.id);
    }
    assert!(stage.confirmed() < committed, "nothing after the row is confirmed");
    assert!(stage.records().iter().all(|record| record.id() != early));

    let sql = "update outbox set status = 'FAILED', last_error = 'timestamp in the future' where id = $1";
    client.execute(sql, &[&early]).expect("marked");
    let relay = stage.relay();
    wait_until("all others are published", || stage.count("PUBLISH") == ROWS - 1);
    assert!(relay.stop().success());
    let records = stage.records();
    assert_eq!(records.len() as i64, ROWS - 1, "each once");
    assert_keys_in_order(&records);
}
