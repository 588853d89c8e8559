//! Broker outages.

use std::time::{Duration, Instant};

use integration_tests::{NewRow, Stage, assert_delivered, assert_keys_in_order, print_line, wait_until};
use testbed::Kafka;

/// Longer than a common 30 s timeout and than `wal_sender_timeout`.
const OUTAGE: Duration = Duration::from_secs(60);

#[test]
fn broker_outage_at_start_and_for_a_minute_later_loses_nothing() {
    let kafka = Kafka::builder().prepare().expect("a Kafka that is started later");
    let stage = Stage::builder().kafka(&kafka).build();
    let mut relay = stage.relay();
    for number in 0..100 {
        stage.insert(&NewRow::of("patient", number % 4, number));
    }
    relay.wait_for_log("Kafka cannot be reached");
    assert_eq!(stage.count("PUBLISH"), 0);
    kafka.start_again().expect("Kafka starts");
    wait_until("the first rows are published", || stage.count("PUBLISH") == 100);
    relay.wait_for_log("Kafka can be reached again");

    kafka.kill().expect("Kafka is killed");
    let away = Instant::now();
    let mut number = 100;
    wait_until("the outage is over", || {
        stage.insert(&NewRow::of("patient", number % 4, number));
        number += 1;
        away.elapsed() > OUTAGE
    });
    assert!(relay.is_running(), "{}", relay.log());
    kafka.start_again().expect("Kafka starts again");
    wait_until("all rows are published", || stage.count("PUBLISH") == number);
    assert!(relay.stop().success());
    assert_keys_in_order(&assert_delivered(&stage));
}

#[test]
fn standby_status_updates_continue_while_the_broker_stalls_beyond_wal_sender_timeout() {
    let postgres =
        testbed::Postgres::builder().setting("wal_sender_timeout", "2s").start().expect("PostgreSQL");
    let kafka = Kafka::start().expect("Kafka");
    let limit = ("POSTRIDER_LIMITS_IN_FLIGHT_EVENTS", "10");
    let stage = Stage::builder().postgres(&postgres).kafka(&kafka).setting(limit.0, limit.1).build();
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    stage.insert(&NewRow::of("stuck", 0, 0));
    wait_until("the first row is published", || stage.count("PUBLISH") == 1);
    kafka.pause().expect("Kafka is paused");
    for number in 1..200 {
        stage.insert(&NewRow::of("stuck", 0, number));
    }
    let before = stage.sender();
    assert!(before.is_some(), "the relay reads");
    let paused = Instant::now();
    wait_until("wal_sender_timeout has passed five times", || paused.elapsed() > Duration::from_secs(10));
    assert_eq!(stage.sender(), before, "the connection is the same: {}", relay.log());
    kafka.resume().expect("Kafka goes on");
    wait_until("all rows are published", || stage.count("PUBLISH") == 200);
    assert!(relay.stop().success());
    assert_keys_in_order(&assert_delivered(&stage));
}

#[test]
fn sigterm_during_a_broker_outage_exits_within_ten_seconds_and_the_next_start_sends_the_rest() {
    let kafka = Kafka::start().expect("Kafka");
    let stage = Stage::builder().kafka(&kafka).build();
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    stage.insert(&NewRow::of("left", 0, 0));
    wait_until("the first row is published", || stage.count("PUBLISH") == 1);
    kafka.kill().expect("Kafka is killed");
    for number in 1..50 {
        stage.insert(&NewRow::of("left", 0, number));
    }
    relay.wait_for_log("Kafka cannot be reached");
    let asked = Instant::now();
    assert!(relay.stop().success(), "exit code 0");
    print_line(&format!("exited {:?} after SIGTERM, with the broker unreachable", asked.elapsed()));
    kafka.start_again().expect("Kafka starts again");
    let relay = stage.relay();
    wait_until("all rows are published", || stage.count("PUBLISH") == 50);
    assert!(relay.stop().success());
    assert_keys_in_order(&assert_delivered(&stage));
}

#[test]
fn full_producer_queue_applies_back_pressure() {
    let stage =
        Stage::builder().setting("POSTRIDER_KAFKA_PROPERTIES_QUEUE_BUFFERING_MAX_MESSAGES", "5").build();
    let mut client = stage.client();
    let mut transaction = client.transaction().expect("begins");
    for number in 0..500 {
        NewRow::of("narrow", number % 3, number).insert(&mut transaction).expect("inserted");
    }
    transaction.commit().expect("commits");
    let relay = stage.relay();
    wait_until("all rows are published", || stage.count("PUBLISH") == 500);
    assert!(relay.stop().success());
    assert_keys_in_order(&assert_delivered(&stage));
}
