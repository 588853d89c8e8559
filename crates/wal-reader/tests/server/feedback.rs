use std::time::{Duration, Instant};

use outbox::Lsn;
use tokio_postgres::Config;
use wal_reader::{Intake, StandbyStatus};

use crate::support::{Listener, Place, shared};

/// The shortest that leaves a busy machine some air.
const SENDER_TIMEOUT: Duration = Duration::from_secs(2);

/// More than the sockets' buffers hold, so that the sender is stuck in the middle of it.
const ROWS: usize = 40_000;

async fn place_with_backlog() -> (Place, Listener) {
    let place = Place::new(shared(), "n text, filler text").await;
    let mut config: Config = place.config.clone();
    config.options("-c wal_sender_timeout=2s");
    let sql = format!("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, {ROWS}) n");
    place.sql.execute(&sql, &[]).await.expect("rows");
    place.mark("end").await;
    let listener = place.stream_with(&config).await.expect("a stream");
    (place, listener)
}

#[tokio::test]
async fn a_stuck_reader_that_gives_feedback_keeps_its_connection_and_loses_nothing() {
    let (_place, mut listener) = place_with_backlog().await;
    listener.change().await.expect("the stream has begun");
    let stuck_since = Instant::now();
    while stuck_since.elapsed() < 3 * SENDER_TIMEOUT {
        listener
            .stream
            .queue_status(&StandbyStatus { written: Lsn::from_u64(1), ..StandbyStatus::default() });
        let next = listener.stream.next(Intake::Closed);
        if let Ok(result) = tokio::time::timeout(SENDER_TIMEOUT / 8, next).await {
            panic!("with the intake closed there is nothing to come, but {result:?} did");
        }
    }
    let rows = listener.rows_until("end").await;
    assert_eq!(rows.len(), ROWS);
    assert_eq!(rows[ROWS - 1][0], format!("n={ROWS}"));
}

/// The proof that the test above would notice.
#[tokio::test]
async fn a_stuck_reader_without_feedback_is_cut_off() {
    let (_place, mut listener) = place_with_backlog().await;
    let stuck_since = Instant::now();
    while stuck_since.elapsed() < 3 * SENDER_TIMEOUT {
        let next = listener.stream.next(Intake::Closed);
        assert!(tokio::time::timeout(SENDER_TIMEOUT / 8, next).await.is_err());
    }
    let error = loop {
        match listener.change().await {
            Ok(wal_reader::Change::Commit { .. }) => panic!("the sender waited all the same"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(error.is_retryable(), "{error}");
}
