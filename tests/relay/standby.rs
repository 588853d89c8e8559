//! Two relays on one slot.

use std::collections::HashSet;

use integration_tests::{NewRow, Stage, assert_delivered, wait_until};
use testbed::Postgres;

#[test]
fn a_second_run_on_the_same_slot_waits_says_so_and_takes_over() {
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
fn a_standby_ends_when_it_is_asked_to() {
    let stage = Stage::new();
    let mut first = stage.relay();
    first.wait_until_streaming();
    let mut second = stage.relay();
    second.wait_for_log("standing by");
    assert!(second.stop().success());
    assert!(first.stop().success());
}

/// The one that stood still wakes up in the middle of a transaction that the server will not send again. What it
/// still had in its hands may come twice.
#[test]
fn a_relay_that_stood_still_while_another_finished_its_transaction_goes_on_after_it() {
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
    wait_until("the first relay is in the middle", || stage.written_back() > 0);
    first.pause();
    assert!(stage.written_back() < ROWS, "the first relay has not come to the end");
    wait_until("the server gives the slot free", || stage.sender().is_none());

    let mut second = stage.relay();
    second.wait_until_streaming();
    wait_until("the second relay publishes all", || stage.count("PUBLISH") == ROWS);
    let end = stage.log_end();
    wait_until("the slot is past the transaction", || stage.confirmed() >= end);
    assert!(second.stop().success());

    first.resume();
    wait_until("the first relay has the slot again", || stage.sender().is_some());
    stage.client().batch_execute("create table other (); drop table other").expect("something else");
    let end = stage.log_end();
    wait_until("the slot follows the log", || stage.confirmed() >= end);
    assert!(first.is_running(), "{}", first.log());
    stage.insert(&NewRow::of("after", 0, 0));
    wait_until("the next row is published", || stage.count("PUBLISH") == ROWS + 1);
    assert!(first.stop().success());
    let ids: HashSet<_> = stage.records().iter().map(|record| record.id()).collect();
    assert!(stage.rows().iter().all(|row| ids.contains(&row.id)), "no row is lost");
}
