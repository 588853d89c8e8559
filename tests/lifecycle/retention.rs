//! Retention deletes old rows without slowing the relay.

use std::thread;
use std::time::{Duration, Instant};

use integration_tests::{NewRow, Stage, print_line, wait_until};

const OLD_ROWS: i64 = 100_000;
const FRESH_ROWS: i64 = 400;
const PACE: Duration = Duration::from_millis(10);

/// `older` and `count` as SQL.
fn complete_rows(older: &str, count: i64) -> String {
    format!(
        "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload, status, created_at, published_at, completed_at)
         select gen_random_uuid(), 'old', n::text, 'happened', jsonb_build_object('n', n, 'fill', repeat('x', 300)), 'COMPLETE', t, t, t
         from generate_series(1, {count}) as n, lateral (select now() - interval '{older}' + n * interval '1 millisecond') as at (t)"
    )
}

// Rows from before the slot, which it does not bring.
fn stage_with_old_rows() -> Stage<'static> {
    let stage = Stage::builder().setting("POSTRIDER_RECEIPTS_ENABLED", "false").build();
    stage.remake_slot(&complete_rows("3 days", OLD_ROWS));
    stage
}

/// Inserts rows at a steady pace while `goes_on`, and returns the publish latency of each.
fn latencies(stage: &Stage<'_>, aggregate_type: &str, goes_on: impl Fn(i64) -> bool) -> Vec<f64> {
    let mut client = stage.client();
    let mut number = 0;
    while goes_on(number) {
        let due = Instant::now() + PACE;
        NewRow::of(aggregate_type, number % 10, number).insert(&mut client).expect("inserted");
        number += 1;
        thread::park_timeout(due.saturating_duration_since(Instant::now()));
    }
    let left = "select count(*) from outbox where aggregate_type = $1 and status = 'INIT'";
    wait_until("all fresh rows are published", || {
        client.query_one(left, &[&aggregate_type]).expect("counted").get::<_, i64>(0) == 0
    });
    let sql = "select extract(epoch from published_at - created_at)::float8 from outbox
               where aggregate_type = $1 and status in ('PUBLISH', 'COMPLETE') order by 1";
    let rows = client.query(sql, &[&aggregate_type]).expect("latencies are read");
    assert_eq!(i64::try_from(rows.len()), Ok(number), "every fresh row is published");
    rows.iter().map(|row| row.get(0)).collect()
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100] * 1000.0
}

#[test]
fn retention_deletes_old_rows_without_slowing_fresh_ones() {
    let stage = stage_with_old_rows();
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    latencies(&stage, "warm", |number| number < 50);
    let without = latencies(&stage, "without", |number| number < FRESH_ROWS);
    assert!(relay.stop().success());

    let old = "select count(*) from outbox where aggregate_type = 'old'";
    let count = |client: &mut postgres::Client| client.query_one(old, &[]).expect("counted").get::<_, i64>(0);
    let mut client = stage.client();
    assert_eq!(count(&mut client), OLD_ROWS, "without retention nothing is deleted");

    let mut relay = stage.relay_with(&[("POSTRIDER_RETENTION_COMPLETE_AFTER", "1d")]);
    relay.wait_until_streaming();
    wait_until("the first rows are deleted", || count(&mut client) < OLD_ROWS);
    let began = Instant::now();
    let with = latencies(&stage, "with", |number| {
        // Counted rarely, because counting is a load of its own.
        number < FRESH_ROWS || (number % 200 != 0 || count(&mut stage.client()) > 0)
    });
    print_line(&format!(
        "publish latency in ms, p50 and p99 of {} rows without retention: {:.1}, {:.1}; of {} while {OLD_ROWS} rows were \
         deleted in {:.0} s: {:.1}, {:.1}; ratios {:.2}, {:.2}",
        without.len(),
        percentile(&without, 50),
        percentile(&without, 99),
        with.len(),
        began.elapsed().as_secs_f64(),
        percentile(&with, 50),
        percentile(&with, 99),
        percentile(&with, 50) / percentile(&without, 50),
        percentile(&with, 99) / percentile(&without, 99),
    ));
    wait_until("all old rows are deleted", || count(&mut client) == 0);
    relay.wait_for_log("retention deleted COMPLETE rows");
    assert!(relay.stop().success());
}

#[test]
fn partition_of_a_completed_month_is_dropped_while_the_relay_runs() {
    let stage = Stage::builder().partitioned().setting("POSTRIDER_RETENTION_COMPLETE_AFTER", "1d").build();
    let mut client = stage.client();
    client
        .batch_execute(
            "create table outbox_2024_03 partition of outbox
             for values from ('2024-03-01 00:00:00+00') to ('2024-04-01 00:00:00+00') with (fillfactor = 50)",
        )
        .expect("made");
    stage.remake_slot(
        "insert into outbox (id, aggregate_type, aggregate_id, event_type, status, created_at, completed_at)
         select gen_random_uuid(), 'old', '1', 'happened', 'COMPLETE', t, t
         from (values (timestamptz '2024-03-05 00:00+00'), ('2023-03-05 00:00+00')) as v (t)",
    );
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    stage.insert(&NewRow::of("fresh", 1, 1));
    relay.wait_for_log("partitions=\"public.outbox_2024_03\"");
    let left = "select count(*) from outbox where status = 'COMPLETE'";
    assert_eq!(
        client.query_one(left, &[]).expect("counted").get::<_, i64>(0),
        0,
        "of the default partition too"
    );
    stage.insert(&NewRow::of("fresh", 1, 2));
    wait_until("both are published", || stage.count("PUBLISH") == 2);
    assert!(relay.stop().success());
}
