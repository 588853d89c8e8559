//! Rows that nobody remembers, and records that are gone.

use std::time::{Duration, Instant};

use integration_tests::{NewRow, Stage, consumed, delete_records, delete_topic, wait_until};

/// As the poller before left them: one that was never sent, one that says it was and has no record.
#[test]
fn a_backdated_init_row_and_a_backdated_publish_row_reach_complete_and_a_fresh_one_waits_for_its_deadline() {
    let stage = Stage::builder().whole_life().setting("POSTRIDER_RECONCILE_INIT_AFTER", "8s").build();
    // Rows from before the slot are not in its log.
    let mut client = stage.client();
    let recreated = "select pg_drop_replication_slot(slot_name), pg_create_logical_replication_slot(slot_name, 'pgoutput') \
                     from pg_replication_slots where slot_name = $1";
    let [init, publish, fresh] = [1, 2, 3].map(|number| NewRow::of("left", number, number));
    init.insert_aged(&mut client, "INIT", "1 hour");
    publish.insert_aged(&mut client, "PUBLISH", "1 hour");
    fresh.insert_aged(&mut client, "INIT", "0 seconds");
    let began = Instant::now();
    client.execute(recreated, &[&stage.slot()]).expect("the slot is made anew");
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
fn rows_that_say_what_became_of_them_when_they_are_inserted_are_not_sent() {
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
fn what_a_topic_lost_when_it_was_made_anew_is_sent_again_once() {
    let stage = Stage::builder().whole_life().setting("POSTRIDER_RECEIPTS_FOLLOW", "late-reader").build();
    stage.create_topic("anew", 1, &[]);
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    for number in 0..10 {
        stage.insert(&NewRow::of("anew", number, number));
    }
    wait_until("all is published", || stage.count("PUBLISH") == 10);
    delete_topic(&stage, "anew");
    stage.create_topic("anew", 1, &[]);
    wait_until("all was sent again", || stage.rows().iter().all(|row| row.attempts == 2));
    wait_until("the group reads them", || {
        consumed(&stage, "late-reader", "anew");
        stage.count("COMPLETE") == 10
    });
    assert!(relay.stop().success());
    let records = stage.records();
    assert_eq!(records.len(), 10, "each once");
    for row in stage.rows() {
        assert_eq!(row.attempts, 2);
        let place = row.place.expect("a place");
        assert!(records.iter().any(|r| r.id() == row.id && r.offset == place.2), "row {} is there", row.id);
    }
}

#[test]
fn what_expired_before_it_was_consumed_is_sent_again() {
    let stage = Stage::builder().whole_life().setting("POSTRIDER_RECEIPTS_FOLLOW", "slow-reader").build();
    stage.create_topic("expired", 1, &[]);
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    for number in 0..6 {
        stage.insert(&NewRow::of("expired", number, number));
    }
    wait_until("all is published", || stage.count("PUBLISH") == 6);
    delete_records(&stage, "expired", 4);
    wait_until("four were sent again", || stage.rows().iter().filter(|row| row.attempts == 2).count() == 4);
    consumed(&stage, "slow-reader", "expired");
    wait_until("all is complete", || {
        consumed(&stage, "slow-reader", "expired");
        stage.count("COMPLETE") == 6
    });
    assert!(relay.stop().success());
}

#[test]
fn a_consumer_that_is_away_for_several_deadlines_causes_nothing_to_be_sent_again() {
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
    wait_until("all is published", || stage.count("PUBLISH") == 50);
    let since = Instant::now();
    wait_until("eight deadlines have passed", || since.elapsed() > Duration::from_secs(8));
    assert_eq!(stage.records().len(), 50, "{}", relay.log());
    consumed(&stage, "away", "lagging");
    wait_until("all is complete", || stage.count("COMPLETE") == 50);
    assert!(relay.stop().success());
    assert_eq!(stage.records().len(), 50);
    assert!(stage.rows().iter().all(|row| row.attempts == 1));
}

/// Rows that wait in the log or on their way look stuck to anybody who asks the table alone.
#[test]
fn a_backlog_and_a_broker_away_for_several_deadlines_are_not_taken_for_stuck() {
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
    wait_until("all is complete", || stage.count("COMPLETE") == 200);
    // Whatever was planned by mistake would come before this one, which is sent after all of them.
    stage.insert(&NewRow::of("last", 1, 1));
    wait_until("the last is complete", || stage.count("COMPLETE") == 201);
    assert!(relay.stop().success());
    assert_eq!(stage.records().len(), 201, "each once");
    assert!(stage.rows().iter().all(|row| row.attempts == 1));
}

#[test]
fn what_is_gone_again_and_again_is_given_up_with_what_was_found() {
    let stage = Stage::builder()
        .whole_life()
        .setting("POSTRIDER_RECONCILE_PUBLISH_AFTER", "1s")
        .setting("POSTRIDER_RECONCILE_ATTEMPTS_MAX", "1")
        .setting("POSTRIDER_RECEIPTS_FOLLOW", "nobody-reads")
        .build();
    stage.create_topic("lost", 1, &[]);
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    let row = NewRow::of("lost", 1, 1);
    stage.insert(&row);
    wait_until("it is published", || stage.count("PUBLISH") == 1);
    delete_records(&stage, "lost", 1);
    wait_until("it is given up", || stage.count("FAILED") == 1);
    let error = stage.row(row.id).last_error.expect("a reason");
    assert!(error.contains("1 attempt") && error.contains("gone"), "{error}");
    assert!(relay.stop().success());
}
