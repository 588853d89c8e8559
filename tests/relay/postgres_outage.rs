//! Database outages.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::thread;

use integration_tests::{Load, NewRow, Stage, assert_delivered, assert_keys_in_order, sell, wait_until};
use testbed::{Kafka, Postgres};

#[test]
fn database_restart_under_load_loses_and_repeats_nothing() {
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
    wait_until("all rows are published", || stage.count("PUBLISH") == total);
    assert!(relay.is_running());
    assert!(relay.stop().success());
    assert_keys_in_order(&assert_delivered(&stage));
}

#[test]
fn unreachable_database_at_start_is_waited_for() {
    let postgres = Postgres::start().expect("PostgreSQL");
    let stage = Stage::builder().postgres(&postgres).build();
    stage.insert(&NewRow::of("early", 0, 0));
    postgres.stop().expect("PostgreSQL stops");
    let mut relay = stage.relay();
    relay.wait_for_log("could not query PostgreSQL");
    postgres.start_again().expect("PostgreSQL starts again");
    wait_until("the row is published", || stage.count("PUBLISH") == 1);
    postgres.stop().expect("PostgreSQL stops");
    relay.wait_for_log("could not read from PostgreSQL");
    assert!(relay.stop().success(), "SIGTERM with the database away is exit code 0");
    postgres.start_again().expect("PostgreSQL starts again");
    assert_delivered(&stage);
}

/// A server that shuts down waits until its replication connections have confirmed everything. The relay cannot
/// confirm what it cannot deliver.
#[test]
fn database_shuts_down_during_a_broker_outage() {
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

#[test]
fn replication_connections_terminated_under_load_lose_and_repeat_nothing() {
    const ROUNDS: i64 = 8;
    let stage = Stage::new();
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    let load = Load::default();
    let total = thread::scope(|scope| {
        let until_ended = load.until_dropped();
        let writer = scope.spawn(|| sell(&stage, &load));
        let mut client = stage.client();
        let sql = "select pg_terminate_backend(active_pid) from pg_replication_slots \
                   where slot_name = $1 and active_pid is not null";
        for round in 1..=ROUNDS {
            wait_until("rows flow", || stage.count("PUBLISH") > round * 50);
            let mut terminated = || client.execute(sql, &[&stage.slot()]).expect("terminated");
            wait_until("a connection is ended", || terminated() == 1);
        }
        drop(until_ended);
        writer.join().expect("the writer ends")
    });
    wait_until("all rows are published", || stage.count("PUBLISH") == total);
    assert!(relay.is_running(), "{}", relay.log());
    assert!(relay.stop().success());
    assert_keys_in_order(&assert_delivered(&stage));
}

/// As during a failover, when the old name already resolves to the new server.
#[test]
fn database_that_returns_as_a_standby_is_waited_for_until_promoted() {
    let postgres = Postgres::start().expect("PostgreSQL");
    let stage = Stage::builder().postgres(&postgres).build();
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    for number in 0..50 {
        stage.insert(&NewRow::of("promoted", number % 4, number));
    }
    wait_until("the first rows are published", || stage.count("PUBLISH") == 50);
    postgres.stop().expect("PostgreSQL stops");
    let signal = postgres.data_dir().join("standby.signal");
    File::create(&signal).expect("a file");
    let owner = fs::metadata(postgres.data_dir()).expect("the data directory");
    chown(&signal, Some(owner.uid()), Some(owner.gid())).expect("the server's file");
    postgres.start_again().expect("PostgreSQL starts as a standby");
    relay.wait_for_log("the server is a standby");
    postgres.execute("postgres", "select pg_promote()").expect("promoted");
    for number in 50..100 {
        stage.insert(&NewRow::of("promoted", number % 4, number));
    }
    wait_until("all rows are published", || stage.count("PUBLISH") == 100);
    assert!(relay.is_running());
    assert!(relay.stop().success());
    assert_keys_in_order(&assert_delivered(&stage));
}
