//! An idle outbox in a busy database.

use integration_tests::{NewRow, Stage, assert_delivered, wait_until};

#[test]
fn slot_advances_while_only_other_tables_are_written() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.batch_execute("create table busy (n int)").expect("a table");
    let relay = stage.relay();
    stage.insert(&NewRow::of("once", 1, 1));
    wait_until("the one row is published", || stage.count("PUBLISH") == 1);
    for _ in 0..5 {
        let before = stage.log_end();
        client.batch_execute("insert into busy select generate_series(1, 1000)").expect("inserted");
        wait_until("the slot is confirmed past the previous end of the WAL", || stage.confirmed() > before);
    }
    assert_delivered(&stage);
    assert!(relay.stop().success());
}

#[test]
fn idle_relay_runs_no_statement() {
    let stage = Stage::new();
    let mut client = stage.client();
    let role = format!("relay_{}", stage.slot());
    let setup = format!(
        "create extension pg_stat_statements; create role {role} login replication superuser password 'its-own'"
    );
    client.batch_execute(&setup).expect("an extension and a role");
    let relay = stage.relay_with(&[("POSTRIDER_POSTGRES_URL", &stage.url_as(&role, "its-own"))]);
    stage.insert(&NewRow::of("once", 1, 1));
    wait_until("the one row is published", || stage.count("PUBLISH") == 1);
    let follow = |what: &str| {
        let end = stage.log_end();
        stage.client().batch_execute("select pg_logical_emit_message(false, 'other', 'x')").expect("emitted");
        wait_until(what, || stage.confirmed() > end);
    };
    follow("the slot is past the row");
    let calls =
        "select coalesce(sum(calls), 0)::int8 from pg_stat_statements where userid = $1::text::regrole";
    let mut count = || client.query_one(calls, &[&role]).expect("the statistics").get::<_, i64>(0);
    let before = count();
    assert!(before > 0, "statements of the relay are counted");
    // Idle until the slot has followed the WAL three times.
    for _ in 0..3 {
        follow("the slot follows");
    }
    assert_eq!(count(), before, "an idle relay runs no statement");
    assert!(relay.stop().success());
}
