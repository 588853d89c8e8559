//! Drains a backlog with `postrider run`, sends all of it again with `postrider replay`, asks `status` and `verify` of
//! it, and prints what that costs: for information, and for comparing two builds in one run on one machine.

use std::time::{Duration, Instant};

use integration_tests::{Relay, Stage, wait_until};

const ROWS: i64 = 300_000;
const ROWS_PER_TRANSACTION: i64 = 100;
/// With the columns around it, a row of about 400 bytes.
const FILL_BYTES: i64 = 250;

fn main() {
    println!("{ROWS} rows, {ROWS_PER_TRANSACTION} per transaction");
    drain("with write-back", &[]);
    drain("without write-back", &[("POSTRIDER_WRITEBACK_ENABLED", "false")]);
    let (stage, relay) = drain("with write-back and receipts", &[("POSTRIDER_RECEIPTS_ENABLED", "true")]);
    timed("replay --all --wait", &stage, &["replay", "--all", "--wait"]);
    assert!(relay.stop().success());
    timed("status", &stage, &["status"]);
    timed("verify", &stage, &["verify"]);
}

/// The relay still runs.
fn drain(name: &str, settings: &[(&str, &str)]) -> (Stage<'static>, Relay) {
    let stage = settings
        .iter()
        .fold(Stage::builder(), |builder, (variable, value)| builder.setting(variable, value))
        .build();
    stage.create_topic("backlog", 6, &[]);
    let row_bytes = fill(&stage);
    let end = stage.log_end();
    let start = Instant::now();
    let relay = stage.relay();
    match settings.first() {
        None => wait_until("every row is written back", || stage.written_back() >= ROWS),
        Some(("POSTRIDER_RECEIPTS_ENABLED", _)) => {
            wait_until("every row is complete", || stage.count("COMPLETE") >= ROWS);
        }
        Some(_) => wait_until("every row is confirmed", || stage.confirmed() >= end),
    }
    print(name, row_bytes, start.elapsed(), &relay);
    (stage, relay)
}

fn timed(name: &str, stage: &Stage<'_>, arguments: &[&str]) {
    let start = Instant::now();
    let stdout = stage.stdout_of(arguments);
    let wall = start.elapsed().as_secs_f64();
    println!("{name}: {wall:.1} s, {:.0} rows/s; output:", ROWS as f64 / wall);
    for line in stdout.lines().take(12) {
        println!("    {line}");
    }
}

fn print(name: &str, row_bytes: i64, wall: Duration, relay: &Relay) {
    let (wall, cpu) = (wall.as_secs_f64(), relay.cpu_seconds());
    let rows = ROWS as f64;
    println!(
        "{name}: rows of {row_bytes} bytes, {wall:.1} s, {:.0} rows/s; the relay took {cpu:.2} CPU seconds, \
         {:.0} rows per CPU second, peak memory {:.1} MiB",
        rows / wall,
        rows / cpu,
        relay.memory_peak_kib() as f64 / 1024.0,
    );
}

/// Returns the average size of a row.
fn fill(stage: &Stage<'_>) -> i64 {
    let insert = format!(
        "do $$ begin
           for t in 1..{} loop
             insert into outbox (id, aggregate_type, aggregate_id, event_type, payload)
             select gen_random_uuid(), 'backlog', ((t * {ROWS_PER_TRANSACTION} + n) % 5000)::text, 'event_happened',
                    jsonb_build_object('transaction', t, 'number', n, 'fill', repeat('x', {FILL_BYTES}))
             from generate_series(1, {ROWS_PER_TRANSACTION}) n;
             commit;
           end loop;
         end $$",
        ROWS / ROWS_PER_TRANSACTION
    );
    let mut client = stage.client();
    client.batch_execute(&insert).expect("the backlog is inserted");
    let size = "select avg(pg_column_size(o.*))::int8 from outbox o";
    client.query_one(size, &[]).expect("rows have a size").get(0)
}
