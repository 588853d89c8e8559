use std::sync::Arc;

use testbed::Postgres;
use wal_reader::{Error, StandbyStatus};

use crate::support::{Listener, Place, client, eventually, shared, within};

/// Reads on until the stream breaks.
async fn end_of(listener: &mut Listener) -> Error {
    let error = loop {
        if let Err(error) = listener.change().await {
            break error;
        }
    };
    println!("{error}");
    error
}

#[tokio::test]
async fn after_a_clean_end_the_slot_is_free() {
    let place = Place::new(shared(), "a text").await;
    let mut listener = place.stream().await;
    place.sql.execute("INSERT INTO t VALUES ('x')", &[]).await.expect("a row");
    place.mark("end").await;
    listener.until("end").await;
    assert!(place.is_active().await);
    let status = StandbyStatus { written: listener.end, flushed: listener.end, ..StandbyStatus::default() };
    listener.stream.queue_status(&status);
    let end = listener.end;
    within("an end", listener.stream.finish()).await.expect("an end");
    assert!(!place.is_active().await);
    assert_eq!(place.confirmed().await, end, "the last status update came before the end");
}

#[tokio::test]
async fn a_clean_end_in_the_middle_of_a_transaction_throws_the_rest_away() {
    let place = Place::new(shared(), "a text").await;
    let mut listener = place.stream().await;
    let sql = "INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 20000)";
    place.sql.execute(sql, &[]).await.expect("rows");
    listener.change().await.expect("a change");
    within("an end", listener.stream.finish()).await.expect("an end");
    assert!(!place.is_active().await);
}

#[tokio::test]
async fn a_terminated_sender_is_worth_another_try() {
    let place = Place::new(shared(), "a text").await;
    let mut listener = place.stream().await;
    let sql = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1";
    place.sql.execute(sql, &[&place.slot]).await.expect("a signal");
    let error = end_of(&mut listener).await;
    assert!(error.is_retryable() && error.sqlstate() == Some("57P01"), "{error}");
    eventually("the slot is free", || async { !place.is_active().await }).await;
    place.stream().await;
}

#[tokio::test]
async fn a_server_that_stops_or_dies_is_worth_another_try() {
    let server = Arc::new(Postgres::start().expect("a server"));
    let mut place = Place::new(&server, "a text").await;
    let mut listener = place.stream().await;
    server.kill().expect("a kill");
    let error = end_of(&mut listener).await;
    assert!(error.is_retryable(), "{error}");
    let error = place.stream_with(&place.config).await.err().expect("nobody listens");
    assert!(error.is_retryable(), "{error}");

    server.start_again().expect("a start");
    place.sql = client(&place.config).await;
    let mut listener = place.stream().await;
    // A sender that has not quite begun is terminated instead of being given the time to end.
    place.mark("begun").await;
    listener.until("begun").await;
    let stop = tokio::task::spawn_blocking({
        let server = Arc::clone(&server);
        move || server.stop()
    });
    let error = end_of(&mut listener).await;
    assert!(error.is_retryable() && error.is_stream_ended(), "{error}");
    stop.await.expect("the stopper lives").expect("a stop");
}
