//! The database is away.

use integration_tests::{NewRow, Stage, assert_delivered, assert_keys_in_order, wait_until};
use testbed::{Kafka, Postgres};

#[test]
fn a_database_restarted_in_the_middle_loses_and_repeats_nothing() {
    let postgres = Postgres::start().expect("PostgreSQL");
    let stage = Stage::builder().postgres(&postgres).build();
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    let mut total = 0;
    for round in 0..3 {
        let mut client = stage.client();
        for _ in 0..300 {
            NewRow::of("steady", total % 4, total).insert(&mut client).expect("inserted");
            total += 1;
        }
        drop(client);
        match round {
            0 => postgres.restart().expect("PostgreSQL restarts"),
            1 => {
                postgres.kill().expect("PostgreSQL is killed");
                postgres.start_again().expect("PostgreSQL starts again");
            }
            _ => {}
        }
    }
    wait_until("all is published", || stage.count("PUBLISH") == total);
    assert!(relay.is_running());
    assert!(relay.stop().success());
    assert_keys_in_order(&assert_delivered(&stage));
}

#[test]
fn a_database_away_at_the_start_is_waited_for() {
    let postgres = Postgres::start().expect("PostgreSQL");
    let stage = Stage::builder().postgres(&postgres).build();
    stage.insert(&NewRow::of("early", 0, 0));
    postgres.stop().expect("PostgreSQL stops");
    let mut relay = stage.relay();
    relay.wait_for_log("waiting");
    postgres.start_again().expect("PostgreSQL starts again");
    wait_until("the row is published", || stage.count("PUBLISH") == 1);
    postgres.stop().expect("PostgreSQL stops");
    relay.wait_for_log("PostgreSQL cannot be read");
    assert!(relay.stop().success(), "SIGTERM with the database away is exit code 0");
    postgres.start_again().expect("PostgreSQL starts again");
    assert_delivered(&stage);
}

/// A server that shuts down waits for its replication connections to confirm everything; what cannot be
/// delivered cannot be confirmed.
#[test]
fn a_database_can_shut_down_although_the_broker_is_away() {
    let postgres = Postgres::start().expect("PostgreSQL");
    let kafka = Kafka::start().expect("Kafka");
    for write_back in ["true", "false"] {
        let stage = Stage::builder()
            .postgres(&postgres)
            .kafka(&kafka)
            .setting("POSTRIDER_WRITEBACK_ENABLED", write_back)
            .setting("POSTRIDER_LIMITS_IN_FLIGHT_EVENTS", "3")
            .build();
        let mut relay = stage.relay();
        relay.wait_until_streaming();
        kafka.pause().expect("Kafka is paused");
        for number in 0..10 {
            stage.insert(&NewRow::of("held", 0, number));
        }
        postgres.stop().expect("PostgreSQL shuts down");
        postgres.start_again().expect("PostgreSQL starts again");
        kafka.resume().expect("Kafka goes on");
        let end = stage.log_end();
        wait_until("all is confirmed", || stage.confirmed() >= end);
        assert!(relay.stop().success());
        let records = stage.records();
        assert_eq!(records.len(), 10, "write-back {write_back}");
        assert_keys_in_order(&records);
    }
}
