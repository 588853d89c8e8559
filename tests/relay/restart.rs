//! Restarts under load.

use std::collections::HashSet;
use std::thread;

use integration_tests::{
    Load, NewRow, Relay, Stage, assert_delivered, assert_keys_in_order, sell, wait_until,
};

/// Ends four relays, one after the other, under load; the fifth publishes the rest. Returns the number of
/// committed rows.
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
    wait_until("all rows are published", || stage.count("PUBLISH") == total);
    assert!(relay.stop().success());
    total
}

#[test]
fn sigterm_under_load_loses_and_repeats_nothing() {
    let stage = Stage::new();
    ended_under_load(&stage, |relay| assert!(relay.stop().success(), "SIGTERM ends with exit code 0"));
    assert_keys_in_order(&assert_delivered(&stage));
}

/// Init systems signal a process and its group.
#[test]
fn sigterm_twice_at_once_drains_as_one_does() {
    let stage = Stage::new();
    ended_under_load(&stage, |relay| {
        relay.ask_to_stop();
        assert!(relay.stop().success(), "SIGTERM ends with exit code 0");
    });
    assert_keys_in_order(&assert_delivered(&stage));
}

#[test]
fn sigkill_under_load_loses_nothing() {
    let stage = Stage::new();
    let total = ended_under_load(&stage, Relay::kill);
    // Records in flight at the kill whose acknowledgement was not read come twice.
    let mut seen = HashSet::new();
    let mut records = stage.records();
    records.retain(|record| seen.insert(record.id()));
    assert_eq!(records.len() as i64, total);
    assert_keys_in_order(&records);
}

/// A copy of the slot, made before anything was published, is confirmed up to nothing that was published.
#[test]
fn published_rows_that_the_slot_brings_again_are_skipped() {
    let stage = Stage::new();
    let copy = format!("{}_copy", stage.slot());
    let sql = "select pg_copy_logical_replication_slot($1::text::name, $2::text::name)";
    stage.client().execute(sql, &[&stage.slot(), &copy]).expect("the slot is copied");
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    for number in 0..200 {
        stage.insert(&NewRow::of("again", number % 3, number));
    }
    wait_until("all rows are published", || stage.count("PUBLISH") == 200);
    assert!(relay.stop().success());
    let mut relay = stage.relay_with(&[("POSTRIDER_POSTGRES_SLOT", &copy)]);
    relay.wait_for_log("skipped events whose rows are already");
    stage.insert(&NewRow::of("again", 1, 200));
    wait_until("the new row is published", || stage.count("PUBLISH") == 201);
    assert!(relay.stop().success());
    assert_keys_in_order(&assert_delivered(&stage));
}
