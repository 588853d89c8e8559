//! How the server carries the write-back out, as its own statistics tell.

use std::time::{Duration, Instant};

use outbox_store::RowUpdateBatch;

use crate::fixture::Fixture;
use crate::row_writer::{published, writer};

const ROWS: u128 = 100_000;

// The rows have about 400 bytes: of much smaller ones the place, which each gains, no longer fits beside every row
// of a page that is half full. Prepared and planned while the table is empty, used when it is not, and never analysed in between.
#[tokio::test]
async fn rows_are_found_by_primary_key_and_updated_hot_however_the_table_has_grown() {
    let fixture = Fixture::set_up().await;
    fixture.execute("alter table outbox set (autovacuum_enabled = off)").await;
    let scans = scans_of_init(&fixture).await;
    let writer = writer(&fixture).await;
    for id in 0..10 {
        writer.write(&RowUpdateBatch::new([published(id, "t", 0, 0)]), false).await.expect("it is written");
    }
    fixture
        .execute(&format!(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload)
             select lpad(to_hex(n), 32, '0')::uuid, 'order', n::text, 'placed', jsonb_build_object('n', n, 'filler', repeat('x', 280))
             from generate_series(0, {ROWS} - 1) as n"
        ))
        .await;
    let mut written = 0;
    let mut times = Vec::new();
    for batch in 0..ROWS / 1000 {
        let ids = batch * 1000..(batch + 1) * 1000;
        let rows =
            ids.map(|id| published(id, ["orders", "payments"][id as usize % 2], (id % 6) as i32, id as i64));
        let batch = RowUpdateBatch::new(rows);
        let start = Instant::now();
        written += writer.write(&batch, false).await.expect("it is written").published;
        times.push(start.elapsed());
    }
    assert_eq!(u128::from(written), ROWS);
    times.sort_unstable();
    let us_per_row = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "{:.1} µs per row in the median batch of 1000, {:.1} in the slowest",
        us_per_row(times[times.len() / 2]),
        us_per_row(times[times.len() - 1])
    );
    // A session's counts arrive at the latest when it ends.
    drop(writer);
    let sql = format!(
        "select concat_ws(' ', seq_scan - {scans}, idx_scan >= {ROWS}, n_tup_upd, n_tup_hot_upd)
         from pg_stat_user_tables where relname = 'outbox'"
    );
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let counts = fixture.text(&sql).await;
        if counts == format!("0 t {ROWS} {ROWS}") {
            break;
        }
        assert!(Instant::now() < deadline, "seq_scan, by index, updates, HOT: {counts}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The sequential scans of the table by `init`: building the primary key and the index is one each. The session reports
/// its statistics up to a minute late (PostgreSQL documentation, "The Cumulative Statistics System").
async fn scans_of_init(fixture: &Fixture) -> u32 {
    const SCANS: u32 = 2;
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let scans =
            fixture.text("select seq_scan::text from pg_stat_user_tables where relname = 'outbox'").await;
        if scans == SCANS.to_string() {
            return SCANS;
        }
        assert!(Instant::now() < deadline, "seq_scan: {scans}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
