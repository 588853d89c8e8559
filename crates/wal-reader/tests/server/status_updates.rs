use std::time::{Duration, Instant};

use outbox::Lsn;
use tokio_postgres::Config;
use wal_reader::{Intake, StandbyStatus};

use crate::support::{SlotFixture, StreamReader, shared};

/// `wal_sender_timeout`, short and still safe on a busy machine.
const SENDER_TIMEOUT: Duration = Duration::from_secs(2);

/// More than the socket buffers hold, so that the walsender blocks.
const ROWS: usize = 40_000;

async fn fixture_with_backlog() -> (SlotFixture, StreamReader) {
    let fixture = SlotFixture::new(shared(), "n text, filler text").await;
    let mut config: Config = fixture.config.clone();
    config.options("-c wal_sender_timeout=2s");
    let sql = format!("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, {ROWS}) n");
    fixture.sql.execute(&sql, &[]).await.expect("rows");
    fixture.mark("end").await;
    let reader = fixture.stream_with(&config).await.expect("a stream");
    (fixture, reader)
}

#[tokio::test]
async fn paused_stream_with_status_updates_outlives_wal_sender_timeout() {
    let (_fixture, mut reader) = fixture_with_backlog().await;
    reader.change().await.expect("the first change");
    let paused_since = Instant::now();
    while paused_since.elapsed() < 3 * SENDER_TIMEOUT {
        reader.stream.queue_status(&StandbyStatus { written: Lsn::from_u64(1), ..StandbyStatus::default() });
        let next = reader.stream.next(Intake::Closed);
        if let Ok(result) = tokio::time::timeout(SENDER_TIMEOUT / 8, next).await {
            panic!("next returned {result:?} although the intake is closed");
        }
    }
    let rows = reader.rows_until("end").await;
    assert_eq!(rows.len(), ROWS);
    assert_eq!(rows[ROWS - 1][0], format!("n={ROWS}"));
}

/// Control: without status updates the server disconnects.
#[tokio::test]
async fn paused_stream_without_status_updates_is_disconnected() {
    let (_fixture, mut reader) = fixture_with_backlog().await;
    let paused_since = Instant::now();
    while paused_since.elapsed() < 3 * SENDER_TIMEOUT {
        let next = reader.stream.next(Intake::Closed);
        assert!(tokio::time::timeout(SENDER_TIMEOUT / 8, next).await.is_err());
    }
    let error = loop {
        match reader.change().await {
            Ok(wal_reader::Change::Commit { .. }) => panic!("the walsender did not time out"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(error.is_retryable(), "{error}");
}
