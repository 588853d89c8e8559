//! Stopping and starting in the middle of load.

use std::collections::HashSet;
use std::thread;

use integration_tests::{
    Load, NewRow, Relay, Stage, assert_delivered, assert_keys_in_order, sell, wait_until,
};

/// Ends four relays, one after the other, in the middle of load; the fifth publishes the rest. Returns how
/// many rows were committed.
fn ended_under_load(stage: &Stage<'_>, end: impl Fn(Relay)) -> i64 {
    let load = Load::default();
    let total = thread::scope(|scope| {
        let until_ended = load.until_dropped();
        let writer = scope.spawn(|| sell(stage, &load));
        for round in 1..=4 {
            let mut relay = stage.relay();
            relay.wait_until_streaming();
            wait_until("some rows are published in this round", || stage.count("PUBLISH") > round * 50);
            end(relay);
        }
        drop(until_ended);
        writer.join().expect("the writer ends")
    });
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    wait_until("all is published", || stage.count("PUBLISH") == total);
    assert!(relay.stop().success());
    total
}

#[test]
fn after_sigterm_in_the_middle_of_load_nothing_is_lost_and_nothing_sent_twice() {
    let stage = Stage::new();
    ended_under_load(&stage, |relay| assert!(relay.stop().success(), "SIGTERM ends with exit code 0"));
    assert_keys_in_order(&assert_delivered(&stage));
}

#[test]
fn a_killed_relay_loses_nothing() {
    let stage = Stage::new();
    let total = ended_under_load(&stage, Relay::kill);
    // A dying process may have had records on the wire whose acknowledgement it never saw: those come twice.
    let mut seen = HashSet::new();
    let mut records = stage.records();
    records.retain(|record| seen.insert(record.id()));
    assert_eq!(records.len() as i64, total);
    assert_keys_in_order(&records);
}

/// A copy of the slot, made before anything was published, stands for one that was never told of it.
#[test]
fn a_row_that_says_publish_is_not_sent_again_although_the_server_sends_it_again() {
    let stage = Stage::new();
    let copy = format!("{}_copy", stage.slot());
    let sql = "select pg_copy_logical_replication_slot($1::text::name, $2::text::name)";
    stage.client().execute(sql, &[&stage.slot(), &copy]).expect("the slot is copied");
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    for number in 0..200 {
        stage.insert(&NewRow::of("again", number % 3, number));
    }
    wait_until("all is published", || stage.count("PUBLISH") == 200);
    assert!(relay.stop().success());
    let mut relay = stage.relay_with(&[("POSTRIDER_POSTGRES_SLOT", &copy)]);
    relay.wait_for_log("skipped events whose rows are already");
    stage.insert(&NewRow::of("again", 1, 200));
    wait_until("the new row is published", || stage.count("PUBLISH") == 201);
    assert!(relay.stop().success());
    assert_keys_in_order(&assert_delivered(&stage));
}
