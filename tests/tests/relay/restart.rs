//! Stopping and starting in the middle of load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use integration_tests::{NewRow, Stage, assert_delivered, assert_keys_in_order, wait_until};

/// Inserts rows of a few keys, in transactions of different sizes, until it is told to stop; returns how many.
fn load(stage: &Stage<'_>, stop: &AtomicBool) -> i64 {
    let mut client = stage.client();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut transaction = client.transaction().expect("begins");
        for _ in 0..=(number % 7) {
            NewRow::of("load", number % 5, number).insert(&mut transaction).expect("inserted");
            number += 1;
        }
        transaction.commit().expect("commits");
    }
    number
}

#[test]
fn after_sigterm_in_the_middle_of_load_nothing_is_lost_and_nothing_sent_twice() {
    let stage = Stage::new();
    let stop = AtomicBool::new(false);
    let total = thread::scope(|scope| {
        let writer = scope.spawn(|| load(&stage, &stop));
        for round in 1..=4 {
            let mut relay = stage.relay();
            relay.wait_until_streaming();
            wait_until("some rows are published in this round", || stage.count("PUBLISH") > round * 50);
            assert!(relay.stop().success(), "SIGTERM ends with exit code 0");
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("the writer ends")
    });
    let relay = stage.relay();
    wait_until("all is published", || stage.count("PUBLISH") == total);
    assert!(relay.stop().success());
    assert_keys_in_order(&assert_delivered(&stage));
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

#[test]
fn a_killed_relay_loses_nothing() {
    let stage = Stage::new();
    let stop = AtomicBool::new(false);
    let total = thread::scope(|scope| {
        let writer = scope.spawn(|| load(&stage, &stop));
        for round in 1..=4 {
            let mut relay = stage.relay();
            relay.wait_until_streaming();
            wait_until("some rows are published in this round", || stage.count("PUBLISH") > round * 50);
            relay.kill();
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("the writer ends")
    });
    let relay = stage.relay();
    wait_until("all is published", || stage.count("PUBLISH") == total);
    assert!(relay.stop().success());
    let mut records = stage.records();
    // A dying process may have had records on the wire whose acknowledgement it never saw: those come twice.
    let mut seen = std::collections::HashSet::new();
    records.retain(|record| seen.insert(record.id()));
    assert_eq!(records.len() as i64, total);
    assert_keys_in_order(&records);
}
