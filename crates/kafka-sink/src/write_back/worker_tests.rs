//! The write-back of the relay's updates against a scripted database.

use std::time::Duration;

use outbox::Token;

use crate::write_back::fixture::{failed_update, held_update, published_update, resent_update};
use crate::write_back::scripted_database::{ScriptedDatabase, Write, all_written, options, submit_published};
use crate::write_back::written::Written;
use crate::write_back::{WriteBack, WriteBackError};

#[tokio::test(start_paused = true)]
async fn write_back_reports_each_event_once_in_full_batches() {
    let database = ScriptedDatabase::default();
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    for number in 0..35 {
        submit_published(&mut write_back, number).expect("the queue has room");
    }
    assert_eq!(all_written(&mut write_back, 35).await, (0..35).collect::<Vec<_>>());
    assert_eq!(database.script().batches, [10, 10, 10, 5]);
}

#[tokio::test(start_paused = true)]
async fn write_back_executes_at_most_two_batches_at_a_time() {
    let database = ScriptedDatabase::with([Write::TakesMs(50); 10]);
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    for number in 0..100 {
        submit_published(&mut write_back, number).expect("the queue has room");
    }
    all_written(&mut write_back, 100).await;
    assert_eq!(database.script().executing_max, 2);
}

#[tokio::test(start_paused = true)]
async fn write_back_collects_the_next_batch_while_two_are_in_flight() {
    let database = ScriptedDatabase::with([Write::TakesMs(50), Write::TakesMs(50)]);
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    for number in 0..5 {
        submit_published(&mut write_back, number).expect("the queue has room");
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    assert_eq!(all_written(&mut write_back, 5).await, [0, 1, 2, 3, 4]);
    assert_eq!(database.script().batches, [1, 1, 3]);
}

#[tokio::test(start_paused = true)]
async fn write_back_repeats_batches_with_an_unknown_outcome() {
    let database = ScriptedDatabase::with([Write::TakesMs(20), Write::IsLost, Write::IsLost]);
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    for number in 0..20 {
        submit_published(&mut write_back, number).expect("the queue has room");
    }
    assert_eq!(all_written(&mut write_back, 20).await, (0..20).collect::<Vec<_>>());
    assert_eq!(database.script().connects, 3);
    assert_eq!(database.script().in_doubt, [false, false, true, true]);
    assert_eq!(write_back.outage(), None);
}

#[tokio::test(start_paused = true)]
async fn write_back_reports_an_outage_and_retries() {
    let database = ScriptedDatabase::default();
    database.script().connects_fail = 20;
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    submit_published(&mut write_back, 0).expect("the queue has room");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let outage = write_back.outage().expect("there is an outage");
    assert_eq!(outage.reason, "connecting: refused");
    assert_eq!(all_written(&mut write_back, 1).await, [0]);
    assert_eq!(write_back.outage(), None);
    assert_eq!(database.script().connects, 21);
}

#[tokio::test(start_paused = true)]
async fn write_back_backs_off_while_connections_open_and_writes_fail() {
    let database = ScriptedDatabase::with([Write::IsLost; 1000]);
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    submit_published(&mut write_back, 0).expect("the queue has room");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(write_back.outage().is_some());
    let connects = database.script().connects;
    assert!((10..40).contains(&connects), "{connects}");
}

#[tokio::test(start_paused = true)]
async fn write_back_returns_a_permanent_error_once_and_ends() {
    let mut write_back = WriteBack::with_connector(ScriptedDatabase::with([Write::IsRejected]), options());
    submit_published(&mut write_back, 0).expect("the queue has room");
    let mut written = Written::default();
    let error = write_back.written(&mut written).await.expect_err("it was rejected");
    assert_eq!(error.to_string(), "writing: permission denied; grant it");
    assert!(matches!(write_back.written(&mut written).await, Err(WriteBackError::Ended)));
    assert!(matches!(submit_published(&mut write_back, 1), Err(WriteBackError::Ended)));
    assert_eq!(written, Written::default());
}

#[tokio::test(start_paused = true)]
async fn write_back_returns_a_panic_as_an_error() {
    let mut write_back = WriteBack::with_connector(ScriptedDatabase::with([Write::Panics]), options());
    submit_published(&mut write_back, 0).expect("the queue has room");
    let error = write_back.written(&mut Written::default()).await.expect_err("it panicked");
    assert!(matches!(&error, WriteBackError::Panicked(message) if message == "scripted panic"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn submit_returns_overrun_without_blocking() {
    let database = ScriptedDatabase::default();
    database.script().connects_fail = usize::MAX;
    let mut write_back = WriteBack::with_connector(database, options());
    for number in 0..100 {
        submit_published(&mut write_back, number).expect("the queue has room");
    }
    assert!(matches!(submit_published(&mut write_back, 100), Err(WriteBackError::Overrun(100))));
}

#[tokio::test(start_paused = true)]
async fn written_is_cancel_safe() {
    let database = ScriptedDatabase::with([Write::TakesMs(50)]);
    let mut write_back = WriteBack::with_connector(database, options());
    submit_published(&mut write_back, 7).expect("the queue has room");
    let mut written = Written::default();
    for _ in 0..10 {
        let wait = write_back.written(&mut written);
        if tokio::time::timeout(Duration::from_millis(20), wait).await.is_ok() {
            break;
        }
    }
    assert_eq!(written.tokens, [Token::from_usize(7)]);
}

#[tokio::test(start_paused = true)]
async fn write_back_repeats_rows_that_are_not_visible_before_reporting_them() {
    let database = ScriptedDatabase::with([Write::SeesNone; 12]);
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    for number in 0..4 {
        submit_published(&mut write_back, number).expect("the queue has room");
    }
    assert_eq!(all_written(&mut write_back, 4).await, [0, 1, 2, 3]);
    assert_eq!(database.script().batches, [4; 13]);
}

#[tokio::test(start_paused = true)]
async fn write_back_keeps_the_order_of_each_row() {
    let database = ScriptedDatabase::default();
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    for (id, update) in [
        (1, published_update(1)),
        (2, failed_update(2)),
        (2, resent_update(2, 99)),
        (3, held_update(3)),
        (4, published_update(4)),
        (5, resent_update(5, 99)),
        (5, failed_update(5)),
    ] {
        write_back.submit(Token::from_usize(id), update).expect("the queue has room");
    }
    assert_eq!(all_written(&mut write_back, 7).await, [1, 2, 2, 3, 4, 5, 5]);
    assert_eq!(database.script().batches, [2, 4, 1]);
    assert_eq!(database.script().fail_or_hold, [true, false, true]);
}

#[tokio::test(start_paused = true)]
async fn write_back_repeats_failed_and_held_rows_that_are_not_visible() {
    let database = ScriptedDatabase::with([Write::SeesNone, Write::SeesNone]);
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    write_back.submit(Token::from_usize(1), failed_update(1)).expect("the queue has room");
    write_back.submit(Token::from_usize(2), held_update(2)).expect("the queue has room");
    assert_eq!(all_written(&mut write_back, 2).await, [1, 2]);
    assert_eq!(database.script().batches, [2, 2, 2]);
    assert_eq!(database.script().fail_or_hold, [true; 3]);
}
