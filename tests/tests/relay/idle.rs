//! A quiet outbox in a busy database.

use integration_tests::{NewRow, Stage, assert_delivered, wait_until};

#[test]
fn the_slot_advances_while_others_write_and_the_outbox_is_idle() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.batch_execute("create table busy (n int)").expect("a table");
    let relay = stage.relay();
    stage.insert(&NewRow::of("once", 1, 1));
    wait_until("the one row is published", || stage.count("PUBLISH") == 1);
    for _ in 0..5 {
        let before = stage.log_end();
        client.batch_execute("insert into busy select generate_series(1, 1000)").expect("inserted");
        wait_until("the slot is confirmed past what was there before", || stage.confirmed() > before);
    }
    assert_delivered(&stage);
    assert!(relay.stop().success());
}

#[test]
fn no_statement_of_ours_runs_while_nothing_happens() {
    let stage = Stage::new();
    let relay = stage.relay();
    stage.insert(&NewRow::of("once", 1, 1));
    wait_until("the one row is published", || stage.count("PUBLISH") == 1);
    let mut client = stage.client();
    client.batch_execute("create extension if not exists pg_stat_statements").expect("the extension");
    let database = "(select oid from pg_database where datname = current_database())";
    let calls = format!(
        "select coalesce(sum(calls), 0)::int8 from pg_stat_statements \
         where dbid = {database} and query ilike '%outbox%' and query not ilike '%pg_stat_statements%' \
         and query not ilike '%count(*) from outbox where status%'"
    );
    let mut count = || client.query_one(&calls, &[]).expect("the statistics").get::<_, i64>(0);
    let before = count();
    // Idle, as long as it takes the slot to follow the log three times.
    for _ in 0..3 {
        let end = stage.log_end();
        stage.client().batch_execute("select pg_logical_emit_message(false, 'other', 'x')").expect("emitted");
        wait_until("the slot follows", || stage.confirmed() > end);
    }
    assert_eq!(count(), before, "an idle relay asks the outbox nothing");
    assert!(relay.stop().success());
}
