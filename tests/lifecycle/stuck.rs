//! Stuck rows and lost records.

use std::time::{Duration, Instant};

use integration_tests::{NewRow, Stage, consumed, delete_records, delete_topic, wait_until};

/// Rows that the slot does not bring: one INIT row, and one PUBLISH row whose record is gone with its topic.
#[test]
fn overdue_init_and_publish_rows_are_sent_and_a_fresh_row_waits_for_its_deadline() {
    let stage = Stage::builder().whole_life().setting("POSTRIDER_RECONCILE_INIT_AFTER", "8s").build();
    // The slot does not bring rows from before its creation.
    let mut client = stage.client();
    let recreated = "select pg_drop_replication_slot(slot_name), pg_create_logical_replication_slot(slot_name, 'pgoutput') \
                     from pg_replication_slots where slot_name = $1";
    let [init, publish, fresh] = [1, 2, 3].map(|number| NewRow::of("left", number, number));
    init.insert_aged(&mut client, "INIT", "1 hour");
    publish.insert_aged(&mut client, "PUBLISH", "1 hour");
    let sql = "update outbox set kafka_topic = 'gone', kafka_partition = 0, kafka_offset = 7 where id = $1";
    client.execute(sql, &[&publish.id]).expect("it has a position");
    fresh.insert_aged(&mut client, "INIT", "0 seconds");
    let began = Instant::now();
    client.execute(recreated, &[&stage.slot()]).expect("the slot is recreated");
    let relay = stage.relay();
    wait_until("the two old ones are complete", || stage.count("COMPLETE") >= 2);
    if began.elapsed() < Duration::from_secs(8) {
        assert_eq!(stage.row(fresh.id).status, "INIT", "{}", relay.log());
    }
    wait_until("the fresh one, too, once its deadline has passed", || stage.count("COMPLETE") == 3);
    assert!(began.elapsed() > Duration::from_secs(8), "not before its deadline");
    assert!(relay.stop().success());
    let records = stage.records();
    assert_eq!(records.len(), 3, "each was sent once");
    assert!(records.iter().all(|record| record.header("postrider-replay") == Some(b"reconciler")));
}

#[test]
fn rows_inserted_with_a_final_status_are_not_sent() {
    let stage = Stage::builder().whole_life().setting("POSTRIDER_RECONCILE_PUBLISH_AFTER", "1h").build();
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    let mut client = stage.client();
    for (number, (status, age)) in
        [("COMPLETE", "1 day"), ("FAILED", "1 day"), ("PUBLISH", "1 minute")].into_iter().enumerate()
    {
        NewRow::of("restored", number, number).insert_aged(&mut client, status, age);
    }
    stage.insert(&NewRow::of("restored", 9, 9));
    wait_until("the new one is complete", || stage.count("COMPLETE") == 2);
    assert!(relay.stop().success());
    assert_eq!(stage.records().len(), 1);
}

#[test]
fn records_of_a_recreated_topic_are_sent_again_once() {
    let stage = Stage::builder().whole_life().setting("POSTRIDER_RECEIPTS_FOLLOW", "late-reader").build();
    stage.create_topic("recreated", 1, &[]);
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    for number in 0..10 {
        stage.insert(&NewRow::of("recreated", number, number));
    }
    wait_until("all rows are published", || stage.count("PUBLISH") == 10);
    delete_topic(&stage, "recreated");
    stage.create_topic("recreated", 1, &[]);
    wait_until("all rows were sent again", || stage.rows().iter().all(|row| row.attempts == 2));
    wait_until("the group reads them", || {
        consumed(&stage, "late-reader", "recreated");
        stage.count("COMPLETE") == 10
    });
    assert!(relay.stop().success());
    let records = stage.records();
    assert_eq!(records.len(), 10, "each once");
    for row in stage.rows() {
        assert_eq!(row.attempts, 2);
        let place = row.place.expect("a place");
        assert!(
            records.iter().any(|r| r.id() == row.id && r.offset == place.2),
            "row {} has a record",
            row.id
        );
    }
}

#[test]
fn records_expired_before_consumption_are_sent_again() {
    let stage = Stage::builder().whole_life().setting("POSTRIDER_RECEIPTS_FOLLOW", "slow-reader").build();
    stage.create_topic("expired", 1, &[]);
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    for number in 0..6 {
        stage.insert(&NewRow::of("expired", number, number));
    }
    wait_until("all rows are published", || stage.count("PUBLISH") == 6);
    delete_records(&stage, "expired", 4);
    wait_until("four were sent again", || stage.rows().iter().filter(|row| row.attempts == 2).count() == 4);
    consumed(&stage, "slow-reader", "expired");
    wait_until("all rows are complete", || {
        consumed(&stage, "slow-reader", "expired");
        stage.count("COMPLETE") == 6
    });
    assert!(relay.stop().success());
}

#[test]
fn consumer_absent_for_several_deadlines_causes_no_resend() {
    let stage = Stage::builder()
        .whole_life()
        .setting("POSTRIDER_RECONCILE_PUBLISH_AFTER", "1s")
        .setting("POSTRIDER_RECEIPTS_FOLLOW", "away")
        .build();
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    for number in 0..50 {
        stage.insert(&NewRow::of("lagging", number % 3, number));
    }
    wait_until("all rows are published", || stage.count("PUBLISH") == 50);
    let since = Instant::now();
    wait_until("eight deadlines have passed", || since.elapsed() > Duration::from_secs(8));
    assert_eq!(stage.records().len(), 50, "{}", relay.log());
    consumed(&stage, "away", "lagging");
    wait_until("all rows are complete", || stage.count("COMPLETE") == 50);
    assert!(relay.stop().success());
    assert_eq!(stage.records().len(), 50);
    assert!(stage.rows().iter().all(|row| row.attempts == 1));
}

/// By the table alone, rows that wait in the WAL or in flight look stuck.
#[test]
fn backlog_and_broker_outage_of_several_deadlines_are_not_judged_stuck() {
    let kafka = testbed::Kafka::start().expect("Kafka");
    let stage = Stage::builder().whole_life().kafka(&kafka).build();
    for number in 0..200 {
        stage.insert(&NewRow::of("backlog", number % 5, number));
    }
    let aged = "update outbox set created_at = now() - interval '1 day'";
    stage.client().batch_execute(aged).expect("aged");
    kafka.stop().expect("Kafka stops");
    let mut relay = stage.relay();
    relay.wait_for_log("Kafka cannot be reached");
    let since = Instant::now();
    wait_until("several deadlines have passed", || since.elapsed() > Duration::from_secs(8));
    kafka.start_again().expect("Kafka starts");
    wait_until("all rows are complete", || stage.count("COMPLETE") == 200);
    // A resend planned by mistake would come before this row.
    stage.insert(&NewRow::of("last", 1, 1));
    wait_until("the last is complete", || stage.count("COMPLETE") == 201);
    assert!(relay.stop().success());
    assert_eq!(stage.records().len(), 201, "each once");
    assert!(stage.rows().iter().all(|row| row.attempts == 1));
}

#[test]
fn row_lost_attempts_max_times_becomes_failed_with_the_evidence() {
    let stage = Stage::builder()
        .whole_life()
        .setting("POSTRIDER_RECONCILE_PUBLISH_AFTER", "1s")
        .setting("POSTRIDER_RECONCILE_ATTEMPTS_MAX", "1")
        .setting("POSTRIDER_RECEIPTS_FOLLOW", "reads-nothing")
        .build();
    stage.create_topic("lost", 1, &[]);
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    let row = NewRow::of("lost", 1, 1);
    stage.insert(&row);
    wait_until("it is published", || stage.count("PUBLISH") == 1);
    delete_records(&stage, "lost", 1);
    wait_until("it is FAILED", || stage.count("FAILED") == 1);
    let error = stage.row(row.id).last_error.expect("a reason");
    assert!(error.contains("1 attempt") && error.contains("lost"), "{error}");
    assert!(relay.stop().success());
}
