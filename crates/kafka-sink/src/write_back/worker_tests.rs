//! The worker against a database that does as it is told, on a clock that does too.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outbox::Token;
use outbox_store::{PublishRows, StoreError, Written};
use uuid::Uuid;

use super::worker::{Database, Writer};
use super::{WriteBack, WriteBackError, WriteBackOptions};
use crate::{Place, Published};

#[derive(Clone, Copy, Debug)]
enum Write {
    Succeeds,
    /// The rows' transaction is not visible yet.
    SeesNone,
    TakesMs(u64),
    /// The server did it, but nobody heard of it.
    IsLost,
    IsRefused,
    Panics,
}

#[derive(Debug, Default)]
struct Script {
    opens_fail: usize,
    writes: VecDeque<Write>,
    opened: usize,
    executing: usize,
    executing_max: usize,
    batches: Vec<usize>,
}

#[derive(Clone, Debug, Default)]
struct Scripted(Arc<Mutex<Script>>);

impl Scripted {
    fn with(writes: impl IntoIterator<Item = Write>) -> Self {
        let scripted = Scripted::default();
        scripted.script().writes.extend(writes);
        scripted
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.0.lock().expect("no test panics with it")
    }

    async fn done(&self, rows: usize) -> Result<Written, StoreError> {
        let written = || Written { rows: rows as u64, unseen_xids: Vec::new() };
        let write = {
            let mut script = self.script();
            script.batches.push(rows);
            script.writes.pop_front().unwrap_or(Write::Succeeds)
        };
        match write {
            Write::Succeeds => Ok(written()),
            Write::SeesNone => Ok(Written { rows: 0, unseen_xids: vec![XID] }),
            Write::TakesMs(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(written())
            }
            Write::IsLost => Err(StoreError::transient("writing", "connection lost")),
            Write::IsRefused => Err(StoreError::definite("writing", "permission denied", "grant it")),
            Write::Panics => panic!("as the script says"),
        }
    }
}

impl Database for Scripted {
    type Writer = Scripted;

    async fn open(&mut self) -> Result<Scripted, StoreError> {
        let mut script = self.script();
        script.opened += 1;
        if script.opens_fail > 0 {
            script.opens_fail -= 1;
            return Err(StoreError::transient("connecting", "refused"));
        }
        drop(script);
        Ok(self.clone())
    }
}

impl Writer for Scripted {
    async fn write(&self, rows: &PublishRows) -> Result<Written, StoreError> {
        {
            let mut script = self.script();
            script.executing += 1;
            script.executing_max = script.executing_max.max(script.executing);
        }
        let outcome = self.done(rows.len()).await;
        self.script().executing -= 1;
        outcome
    }
}

fn event(number: usize) -> Published {
    Published {
        token: Token::from_usize(number),
        id: Uuid::from_u128(number as u128),
        xid: Some(XID),
        topic: "t".into(),
        place: Place { partition: 0, offset: number as i64 },
    }
}

const XID: u32 = 700;

fn options() -> WriteBackOptions {
    WriteBackOptions { batch_rows_max: 10, queue_max: 100, ..WriteBackOptions::default() }
}

async fn all_written(write_back: &mut WriteBack, events: usize) -> Vec<usize> {
    let mut tokens = Vec::new();
    while tokens.len() < events {
        write_back.written(&mut tokens).await.expect("the worker goes on");
    }
    let mut numbers: Vec<_> = tokens.iter().map(|token| token.to_usize()).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test(start_paused = true)]
async fn every_event_is_reported_once_in_batches_of_the_largest_size() {
    let database = Scripted::default();
    let mut write_back = WriteBack::over(database.clone(), options());
    for number in 0..35 {
        write_back.submit(event(number)).expect("there is room");
    }
    assert_eq!(all_written(&mut write_back, 35).await, (0..35).collect::<Vec<_>>());
    assert_eq!(database.script().batches, [10, 10, 10, 5]);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_two_batches_are_executed_at_a_time() {
    let database = Scripted::with([Write::TakesMs(50); 10]);
    let mut write_back = WriteBack::over(database.clone(), options());
    for number in 0..100 {
        write_back.submit(event(number)).expect("there is room");
    }
    all_written(&mut write_back, 100).await;
    assert_eq!(database.script().executing_max, 2);
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_two_batches_are_executed_is_gathered_into_the_next() {
    let database = Scripted::with([Write::TakesMs(50), Write::TakesMs(50)]);
    let mut write_back = WriteBack::over(database.clone(), options());
    for number in 0..5 {
        write_back.submit(event(number)).expect("there is room");
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    assert_eq!(all_written(&mut write_back, 5).await, [0, 1, 2, 3, 4]);
    assert_eq!(database.script().batches, [1, 1, 3]);
}

#[tokio::test(start_paused = true)]
async fn batches_whose_outcome_is_unknown_are_written_again() {
    let database = Scripted::with([Write::TakesMs(20), Write::IsLost, Write::IsLost]);
    let mut write_back = WriteBack::over(database.clone(), options());
    for number in 0..20 {
        write_back.submit(event(number)).expect("there is room");
    }
    assert_eq!(all_written(&mut write_back, 20).await, (0..20).collect::<Vec<_>>());
    assert_eq!(database.script().opened, 3);
    assert_eq!(write_back.outage(), None);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_out_and_known_meanwhile() {
    let database = Scripted::default();
    database.script().opens_fail = 20;
    let mut write_back = WriteBack::over(database.clone(), options());
    write_back.submit(event(0)).expect("there is room");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let outage = write_back.outage().expect("it is under way");
    assert_eq!(outage.reason, "connecting: refused");
    assert_eq!(all_written(&mut write_back, 1).await, [0]);
    assert_eq!(write_back.outage(), None);
    assert_eq!(database.script().opened, 21);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_opens_and_never_writes_is_still_an_outage_with_growing_waits() {
    let database = Scripted::with([Write::IsLost; 1000]);
    let mut write_back = WriteBack::over(database.clone(), options());
    write_back.submit(event(0)).expect("there is room");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(write_back.outage().is_some());
    let opened = database.script().opened;
    assert!((10..40).contains(&opened), "{opened}");
}

#[tokio::test(start_paused = true)]
async fn a_definite_error_ends_the_worker_and_is_said_once() {
    let mut write_back = WriteBack::over(Scripted::with([Write::IsRefused]), options());
    write_back.submit(event(0)).expect("there is room");
    let mut tokens = Vec::new();
    let error = write_back.written(&mut tokens).await.expect_err("it was refused");
    assert_eq!(error.to_string(), "writing: permission denied; grant it");
    assert!(matches!(write_back.written(&mut tokens).await, Err(WriteBackError::Ended)));
    assert!(matches!(write_back.submit(event(1)), Err(WriteBackError::Ended)));
    assert_eq!(tokens, []);
}

#[tokio::test(start_paused = true)]
async fn a_panic_surfaces_as_an_error() {
    let mut write_back = WriteBack::over(Scripted::with([Write::Panics]), options());
    write_back.submit(event(0)).expect("there is room");
    let error = write_back.written(&mut Vec::new()).await.expect_err("it panicked");
    assert!(
        matches!(&error, WriteBackError::Panicked(message) if message == "as the script says"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn more_events_than_announced_are_an_error_and_block_nobody() {
    let database = Scripted::default();
    database.script().opens_fail = usize::MAX;
    let mut write_back = WriteBack::over(database, options());
    for number in 0..100 {
        write_back.submit(event(number)).expect("there is room");
    }
    assert!(matches!(write_back.submit(event(100)), Err(WriteBackError::Overrun(100))));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_cancelled_loses_no_completion() {
    let database = Scripted::with([Write::TakesMs(50)]);
    let mut write_back = WriteBack::over(database, options());
    write_back.submit(event(7)).expect("there is room");
    let mut tokens = Vec::new();
    for _ in 0..10 {
        let wait = write_back.written(&mut tokens);
        if tokio::time::timeout(Duration::from_millis(20), wait).await.is_ok() {
            break;
        }
    }
    assert_eq!(tokens, [Token::from_usize(7)]);
}

#[tokio::test(start_paused = true)]
async fn rows_that_cannot_be_seen_yet_are_written_again_and_not_reported_before() {
    let database = Scripted::with([Write::SeesNone; 12]);
    let mut write_back = WriteBack::over(database.clone(), options());
    for number in 0..4 {
        write_back.submit(event(number)).expect("there is room");
    }
    assert_eq!(all_written(&mut write_back, 4).await, [0, 1, 2, 3]);
    assert_eq!(database.script().batches, [4; 13]);
}
