use std::sync::Arc;

use testbed::Postgres;
use wal_reader::{Error, StandbyStatus};

use crate::support::{SlotFixture, StreamReader, client, eventually, shared, within};

/// Reads until the stream ends.
async fn end_of(reader: &mut StreamReader) -> Error {
    let error = loop {
        if let Err(error) = reader.change().await {
            break error;
        }
    };
    println!("{error}");
    error
}

#[tokio::test]
async fn finish_reports_the_last_status_and_releases_the_slot() {
    let fixture = SlotFixture::new(shared(), "a text").await;
    let mut reader = fixture.stream().await;
    fixture.sql.execute("INSERT INTO t VALUES ('x')", &[]).await.expect("a row");
    fixture.mark("end").await;
    reader.until("end").await;
    assert!(fixture.is_active().await);
    let status = StandbyStatus { written: reader.end, flushed: reader.end, ..StandbyStatus::default() };
    reader.stream.queue_status(&status);
    let end = reader.end;
    within("an end", reader.stream.finish()).await.expect("an end");
    assert!(!fixture.is_active().await);
    assert_eq!(fixture.confirmed().await, end, "finish sent the queued status update");
}

#[tokio::test]
async fn finish_within_a_transaction_discards_the_rest() {
    let fixture = SlotFixture::new(shared(), "a text").await;
    let mut reader = fixture.stream().await;
    let sql = "INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 20000)";
    fixture.sql.execute(sql, &[]).await.expect("rows");
    reader.change().await.expect("a change");
    within("an end", reader.stream.finish()).await.expect("an end");
    assert!(!fixture.is_active().await);
}

#[tokio::test]
async fn terminated_walsender_is_retryable() {
    let fixture = SlotFixture::new(shared(), "a text").await;
    let mut reader = fixture.stream().await;
    let sql = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1";
    fixture.sql.execute(sql, &[&fixture.slot]).await.expect("a signal");
    let error = end_of(&mut reader).await;
    assert!(error.is_retryable() && error.sqlstate() == Some("57P01"), "{error}");
    eventually("the slot is released", || async { !fixture.is_active().await }).await;
    fixture.stream().await;
}

#[tokio::test]
async fn stopped_or_killed_server_is_retryable() {
    let server = Arc::new(Postgres::start().expect("a server"));
    let mut fixture = SlotFixture::new(&server, "a text").await;
    let mut reader = fixture.stream().await;
    server.kill().expect("a kill");
    let error = end_of(&mut reader).await;
    assert!(error.is_retryable(), "{error}");
    let error = fixture.stream_with(&fixture.config).await.err().expect("the server is down");
    assert!(error.is_retryable(), "{error}");

    server.start_again().expect("a start");
    fixture.sql = client(&fixture.config).await;
    let mut reader = fixture.stream().await;
    // A walsender that is still starting is terminated and does not end the stream.
    fixture.mark("begun").await;
    reader.until("begun").await;
    let stop = tokio::task::spawn_blocking({
        let server = Arc::clone(&server);
        move || server.stop()
    });
    let error = end_of(&mut reader).await;
    assert!(error.is_retryable() && error.is_stream_ended(), "{error}");
    stop.await.expect("the task finishes").expect("a stop");
}
