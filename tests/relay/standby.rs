//! Two relays on one slot.

use std::collections::HashSet;

use integration_tests::{NewRow, Stage, assert_delivered, wait_until};
use testbed::Postgres;

#[test]
fn second_relay_on_the_same_slot_stands_by_and_takes_over() {
    let stage = Stage::new();
    let mut first = stage.relay();
    first.wait_until_streaming();
    let mut second = stage.relay();
    second.wait_for_log("standing by");
    stage.insert(&NewRow::of("turns", 0, 0));
    wait_until("the first relay publishes", || stage.count("PUBLISH") == 1);
    assert!(first.stop().success());
    second.wait_until_streaming();
    stage.insert(&NewRow::of("turns", 0, 1));
    wait_until("the second relay publishes", || stage.count("PUBLISH") == 2);
    assert!(second.stop().success());
    assert_delivered(&stage);
}

#[test]
fn standby_relay_stops_on_sigterm() {
    let stage = Stage::new();
    let mut first = stage.relay();
    first.wait_until_streaming();
    let mut second = stage.relay();
    second.wait_for_log("standing by");
    assert!(second.stop().success());
    assert!(first.stop().success());
}

/// The paused relay resumes within a transaction that the server does not send again. Its in-flight events may come
/// twice.
#[test]
fn relay_paused_while_another_finished_its_transaction_continues_after_it() {
    const ROWS: i64 = 150_000;
    let postgres = Postgres::builder().setting("wal_sender_timeout", "2s").start().expect("PostgreSQL");
    let stage = Stage::builder().postgres(&postgres).build();
    let mut first = stage.relay();
    first.wait_until_streaming();
    let sql = format!(
        "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload) \
         select gen_random_uuid(), 'bulk', (n % 1000)::text, 'counted', to_jsonb(n) from generate_series(1, {ROWS}) n"
    );
    stage.client().batch_execute(&sql).expect("inserted in one transaction");
    wait_until("the first relay has published a part", || stage.written_back() > 0);
    first.pause();
    assert!(stage.written_back() < ROWS, "the first relay has not published all");
    wait_until("the server releases the slot", || stage.sender().is_none());

    let mut second = stage.relay();
    second.wait_until_streaming();
    wait_until("the second relay publishes the rest", || stage.count("PUBLISH") == ROWS);
    let end = stage.log_end();
    wait_until("the slot is past the transaction", || stage.confirmed() >= end);
    assert!(second.stop().success());

    first.resume();
    wait_until("the first relay has the slot again", || stage.sender().is_some());
    stage.client().batch_execute("create table other (); drop table other").expect("another statement");
    let end = stage.log_end();
    wait_until("the slot follows the WAL", || stage.confirmed() >= end);
    assert!(first.is_running(), "{}", first.log());
    stage.insert(&NewRow::of("after", 0, 0));
    wait_until("the next row is published", || stage.count("PUBLISH") == ROWS + 1);
    assert!(first.stop().success());
    let ids: HashSet<_> = stage.records().iter().map(|record| record.id()).collect();
    assert!(stage.rows().iter().all(|row| ids.contains(&row.id)), "no row is lost");
}
