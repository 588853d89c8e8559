//! The relay reads no outbox row in steady state.

use std::time::{Duration, Instant};

use integration_tests::{NewRow, Stage, print_line, wait_until};

/// Statements that only read the outbox table, with their calls.
const READS: &str = "
    select coalesce(sum(calls), 0)::int8 from pg_stat_statements
    where userid = $1::text::regrole and query ~* '\\moutbox\\M'
      and query !~* '\\m(update|insert|delete)\\M' and query ~* '\\mselect\\M' and query !~* 'pg_class|pg_attribute'";

const ALL: &str = "
    select calls, left(regexp_replace(query, '\\s+', ' ', 'g'), 100) from pg_stat_statements
    where userid = $1::text::regrole order by calls desc";

#[test]
fn steady_state_runs_no_query_on_the_outbox_table_idle_or_loaded() {
    let stage = Stage::builder()
        .setting("POSTRIDER_RECEIPTS_ENABLED", "true")
        .setting("POSTRIDER_RECONCILE_INIT_AFTER", "3s")
        .setting("POSTRIDER_RECONCILE_PUBLISH_AFTER", "3s")
        .build();
    let mut client = stage.client();
    let role = format!("relay_{}", stage.slot());
    let setup = format!(
        "create extension pg_stat_statements; create role {role} login replication superuser password 'its-own'"
    );
    client.batch_execute(&setup).expect("an extension and a role");
    let relay = stage.relay_with(&[("POSTRIDER_POSTGRES_URL", &stage.url_as(&role, "its-own"))]);
    let mut number: i64 = 0;
    let mut insert = |count: i64| {
        for _ in 0..count {
            stage.insert(&NewRow::of("steady", number % 5, number));
            number += 1;
        }
        wait_until("all is complete", || stage.count("COMPLETE") == number);
    };
    insert(50);
    let mut reads = || client.query_one(READS, &[&role]).expect("the statistics").get::<_, i64>(0);
    // The start-up scan overlaps with the deadline buckets, so the start ends when its deadlines have passed.
    wait_until("the start-up query has run", || reads() > 0);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(8) {
        insert(20);
    }
    let before = reads();
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(10) {
        insert(100);
    }
    assert_eq!(reads(), before, "under load over several deadlines");
    let idle = Instant::now();
    wait_until("several deadlines have passed idly", || idle.elapsed() > Duration::from_secs(8));
    assert_eq!(reads(), before, "idle over several deadlines");
    for row in client.query(ALL, &[&role]).expect("the statistics") {
        print_line(&format!("pg_stat_statements: {} x {}", row.get::<_, i64>(0), row.get::<_, &str>(1)));
    }
    assert!(relay.stop().success());
}
