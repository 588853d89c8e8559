//! Stopping and starting in the middle of load.

use std::collections::HashSet;
use std::thread;

use integration_tests::{Load, NewRow, Relay, Stage, assert_delivered, assert_keys_in_order, wait_until};

/// Inserts rows of a few keys, in transactions of different sizes; returns how many.
fn sell(stage: &Stage<'_>, load: &Load) -> i64 {
    let mut client = stage.client();
    let mut number = 0;
    while load.goes_on() {
        let mut transaction = client.transaction().expect("begins");
        for _ in 0..=(number % 7) {
            NewRow::of("load", number % 5, number).insert(&mut transaction).expect("inserted");
            number += 1;
        }
        transaction.commit().expect("commits");
    }
    number
}

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

#[test]
fn a_row_that_says_publish_is_not_sent_again_although_the_server_sends_it_again() {
    let stage = Stage::new();
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    for number in 0..200 {
        stage.insert(&NewRow::of("again", number % 3, number));
    }
    wait_until("all is published", || stage.count("PUBLISH") == 200);
    relay.kill();
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    stage.insert(&NewRow::of("again", 1, 200));
    wait_until("the new row is published", || stage.count("PUBLISH") == 201);
    assert!(relay.stop().success());
    assert_keys_in_order(&assert_delivered(&stage));
}
