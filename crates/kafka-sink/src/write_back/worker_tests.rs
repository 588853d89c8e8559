//! The worker against a database that does as it is told, on a clock that does too.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outbox::{CreatedRange, Token, WriteBackSummary};
use outbox_store::{Changed, Completed, StoreError};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::batch::Rows;
use super::fixture::{XID, a_failed, a_held, a_published, a_receipt, change};
use super::worker::{Answer, Database, Opened, Writer};
use super::{WriteBack, WriteBackError, WriteBackOptions, Written};
use crate::write_back::receipt::{ReceiptChunk, Receipted};
use crate::write_back::row_update::{Place, RowChange, What};

#[derive(Clone, Copy, Debug)]
enum Write {
    Succeeds,
    /// The rows' transaction is not visible yet.
    SeesNone,
    /// The rows are gone, or not visible although nobody named their transaction.
    ChangesNothing,
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
    /// The rows of each.
    batches: Vec<usize>,
    /// Which of them set rows aside.
    asides: Vec<bool>,
    in_doubt: Vec<bool>,
    progress: Vec<(Arc<str>, i32, i64)>,
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

    async fn done(&self, rows: &Rows, in_doubt: bool) -> Result<Answer, StoreError> {
        let write = {
            let mut script = self.script();
            let (rows, aside) = match rows {
                Rows::Changes(rows) => (rows.len(), false),
                Rows::Asides(rows) => (rows.len(), true),
            };
            script.batches.push(rows);
            script.asides.push(aside);
            script.in_doubt.push(in_doubt);
            script.writes.pop_front().unwrap_or(Write::Succeeds)
        };
        let answer = |changed: Changed| {
            Ok(match rows {
                Rows::Changes(_) => Answer::Changed(changed),
                Rows::Asides(_) => Answer::Aside { unseen_xids: changed.unseen_xids },
            })
        };
        let none = || Completed::Only(HashSet::new());
        match write {
            Write::Succeeds => answer(Changed::default()),
            Write::SeesNone => {
                answer(Changed { completed: none(), unseen_xids: vec![XID], ..Changed::default() })
            }
            Write::ChangesNothing => answer(Changed { completed: none(), ..Changed::default() }),
            Write::TakesMs(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                answer(Changed::default())
            }
            Write::IsLost => Err(StoreError::transient("writing", "connection lost")),
            Write::IsRefused => Err(StoreError::definite("writing", "permission denied", "grant it")),
            Write::Panics => panic!("as the script says"),
        }
    }
}

impl Database for Scripted {
    type Writer = Scripted;

    async fn open(&mut self) -> Result<Opened<Scripted>, StoreError> {
        let mut script = self.script();
        script.opened += 1;
        if script.opens_fail > 0 {
            script.opens_fail -= 1;
            return Err(StoreError::transient("connecting", "refused"));
        }
        let progress = script.progress.clone();
        drop(script);
        Ok(Opened { writer: self.clone(), progress })
    }
}

impl Writer for Scripted {
    async fn write(&self, rows: &Rows, in_doubt: bool) -> Result<Answer, StoreError> {
        {
            let mut script = self.script();
            script.executing += 1;
            script.executing_max = script.executing_max.max(script.executing);
        }
        let outcome = self.done(rows, in_doubt).await;
        self.script().executing -= 1;
        outcome
    }
}

fn event(number: usize) -> RowChange {
    a_published(number)
}

/// A chunk of receipts of these rows, and what tells of it.
fn chunk(rows: impl IntoIterator<Item = usize>) -> (ReceiptChunk, oneshot::Receiver<Receipted>) {
    let (done, answer) = oneshot::channel();
    (ReceiptChunk { receipts: rows.into_iter().map(a_receipt).collect(), done }, answer)
}

async fn send(write_back: &WriteBack, rows: impl IntoIterator<Item = usize>) -> oneshot::Receiver<Receipted> {
    let (chunk, answer) = chunk(rows);
    write_back.receipts().send(chunk).await.expect("the worker is there");
    answer
}

fn options() -> WriteBackOptions {
    WriteBackOptions { batch_rows_max: 10, queue_max: 100, ..WriteBackOptions::default() }
}

async fn all_written(write_back: &mut WriteBack, events: usize) -> Vec<usize> {
    let mut written = Written::default();
    while written.tokens.len() < events {
        write_back.written(&mut written).await.expect("the worker goes on");
    }
    let mut numbers: Vec<_> = written.tokens.iter().map(|token| token.to_usize()).collect();
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
    assert_eq!(database.script().in_doubt, [false, false, true, true]);
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
    let mut written = Written::default();
    let error = write_back.written(&mut written).await.expect_err("it was refused");
    assert_eq!(error.to_string(), "writing: permission denied; grant it");
    assert!(matches!(write_back.written(&mut written).await, Err(WriteBackError::Ended)));
    assert!(matches!(write_back.submit(event(1)), Err(WriteBackError::Ended)));
    assert_eq!(written, Written::default());
}

#[tokio::test(start_paused = true)]
async fn a_panic_surfaces_as_an_error() {
    let mut write_back = WriteBack::over(Scripted::with([Write::Panics]), options());
    write_back.submit(event(0)).expect("there is room");
    let error = write_back.written(&mut Written::default()).await.expect_err("it panicked");
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
async fn rows_that_cannot_be_seen_yet_are_written_again_and_not_reported_before() {
    let database = Scripted::with([Write::SeesNone; 12]);
    let mut write_back = WriteBack::over(database.clone(), options());
    for number in 0..4 {
        write_back.submit(event(number)).expect("there is room");
    }
    assert_eq!(all_written(&mut write_back, 4).await, [0, 1, 2, 3]);
    assert_eq!(database.script().batches, [4; 13]);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_and_consumed_in_one_window_is_one_row_and_both_hear_of_it() {
    let database = Scripted::default();
    let mut write_back = WriteBack::over(database.clone(), options());
    write_back.submit(event(1)).expect("there is room");
    let answer = send(&write_back, [1, 2]).await;
    assert_eq!(all_written(&mut write_back, 1).await, [1]);
    assert_eq!(answer.await, Ok(Receipted { completed: 2, idle: 0 }));
    assert_eq!(database.script().batches, [2]);
}

#[tokio::test(start_paused = true)]
async fn of_two_receipts_of_a_row_one_completed_it() {
    let write_back = WriteBack::over(Scripted::default(), options());
    let answer = send(&write_back, [1, 1, 1]).await;
    assert_eq!(answer.await, Ok(Receipted { completed: 1, idle: 2 }));
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_is_larger_than_a_batch_is_done_when_all_of_it_is_durable() {
    let database = Scripted::with([Write::TakesMs(50); 4]);
    let write_back = WriteBack::over(database.clone(), options());
    let start = Instant::now();
    let answer = send(&write_back, 0..35).await;
    assert_eq!(answer.await, Ok(Receipted { completed: 35, idle: 0 }));
    assert!(start.elapsed() >= Duration::from_millis(100), "{:?}", start.elapsed());
    assert_eq!(database.script().batches, [10, 10, 10, 5]);
}

#[tokio::test(start_paused = true)]
async fn receipts_have_their_share_of_every_batch_however_much_is_published() {
    let database = Scripted::with([Write::TakesMs(50); 100]);
    let mut write_back = WriteBack::over(database.clone(), options());
    for number in 0..100 {
        write_back.submit(event(number)).expect("there is room");
    }
    let answer = send(&write_back, 1000..1016).await;
    all_written(&mut write_back, 100).await;
    assert_eq!(answer.await, Ok(Receipted { completed: 16, idle: 0 }));
    let batches = database.script().batches.clone();
    assert_eq!(batches.iter().sum::<usize>(), 116);
    assert!(batches.iter().all(|rows| *rows <= 12), "{batches:?}");
    assert!(batches.len() <= 11, "{batches:?}");
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_away_holds_receipts_up_and_not_the_pump() {
    let database = Scripted::default();
    database.script().opens_fail = usize::MAX;
    let mut write_back = WriteBack::over(database, options());
    let mut sent = 0;
    while timeout(Duration::from_secs(1), send(&write_back, [sent])).await.is_ok() {
        sent += 1;
        assert!(sent < 100, "the queue has an end");
    }
    for number in 0..100 {
        write_back.submit(event(number)).expect("there is room");
    }
}

#[tokio::test(start_paused = true)]
async fn a_receipt_that_came_too_early_is_written_with_the_delivery_report() {
    let database = Scripted::with([Write::ChangesNothing]);
    let mut write_back = WriteBack::over(database.clone(), options());
    let mut answer = send(&write_back, [1]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(answer.try_recv().is_err(), "it waits");
    write_back.submit(event(1)).expect("there is room");
    assert_eq!(answer.await, Ok(Receipted { completed: 1, idle: 0 }));
    assert_eq!(all_written(&mut write_back, 1).await, [1]);
    assert_eq!(database.script().batches, [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_receipt_of_which_nothing_comes_is_idle_after_two_seconds() {
    let database = Scripted::with([Write::ChangesNothing]);
    let write_back = WriteBack::over(database.clone(), options());
    let start = Instant::now();
    let answer = send(&write_back, [1, 2]).await;
    assert_eq!(answer.await, Ok(Receipted { completed: 0, idle: 2 }));
    let waited = start.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_millis(2100)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_receipt_of_a_record_whose_report_has_long_come_is_idle_at_once() {
    let database = Scripted::with([Write::ChangesNothing, Write::Succeeds, Write::ChangesNothing]);
    database.script().progress = vec![("t".into(), 0, 5)];
    let mut write_back = WriteBack::over(database, options());
    let start = Instant::now();
    let old = send(&write_back, [4, 5]).await;
    assert_eq!(old.await, Ok(Receipted { completed: 0, idle: 2 }), "an earlier life wrote these");
    write_back.submit(event(9)).expect("there is room");
    all_written(&mut write_back, 1).await;
    let answer = send(&write_back, [8]).await;
    assert_eq!(
        answer.await,
        Ok(Receipted { completed: 0, idle: 1 }),
        "the reports of a partition are in order"
    );
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn of_very_many_early_receipts_the_oldest_are_given_up_before_their_time() {
    let database = Scripted::with([Write::ChangesNothing; 2000]);
    let write_back = WriteBack::over(database, options());
    let start = Instant::now();
    let first = send(&write_back, 0..1000).await;
    let mut others = Vec::new();
    for chunk in 1..12 {
        others.push(send(&write_back, chunk * 1000..(chunk + 1) * 1000).await);
    }
    assert_eq!(first.await, Ok(Receipted { completed: 0, idle: 1000 }));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    for other in others {
        assert_eq!(other.await, Ok(Receipted { completed: 0, idle: 1000 }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_receipt_waits_with_its_row_while_that_cannot_be_seen() {
    let database = Scripted::with([Write::SeesNone; 6]);
    let mut write_back = WriteBack::over(database.clone(), options());
    write_back.submit(event(1)).expect("there is room");
    while database.script().batches.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let answer = send(&write_back, [1]).await;
    assert_eq!(all_written(&mut write_back, 1).await, [1]);
    assert_eq!(answer.await, Ok(Receipted { completed: 1, idle: 0 }));
    assert!(database.script().batches.iter().all(|rows| *rows == 1));
}

#[tokio::test(start_paused = true)]
async fn a_receipt_that_overtook_its_report_by_a_batch_is_written_again_after_it() {
    let database = Scripted::with([Write::TakesMs(50), Write::ChangesNothing, Write::TakesMs(50)]);
    let mut write_back = WriteBack::over(database.clone(), options());
    // The first batch keeps the connection busy for nothing; the second is the receipt, the third its report.
    write_back.submit(event(7)).expect("there is room");
    tokio::time::sleep(Duration::from_millis(5)).await;
    let answer = send(&write_back, [8]).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    write_back.submit(event(8)).expect("there is room");
    assert_eq!(answer.await, Ok(Receipted { completed: 1, idle: 0 }));
    assert_eq!(all_written(&mut write_back, 2).await, [7, 8]);
}

#[tokio::test(start_paused = true)]
async fn what_concerns_one_row_is_written_in_its_order() {
    let database = Scripted::default();
    let mut write_back = WriteBack::over(database.clone(), options());
    let resent = |number| {
        change(number, What::Resent { topic: "t".into(), place: Place { partition: 0, offset: 99 } })
    };
    for change in [event(1), a_failed(2), resent(2), a_held(3), event(4), resent(5), a_failed(5)] {
        write_back.submit(change).expect("there is room");
    }
    assert_eq!(all_written(&mut write_back, 7).await, [1, 2, 2, 3, 4, 5, 5]);
    assert_eq!(database.script().batches, [2, 4, 1]);
    assert_eq!(database.script().asides, [true, false, true]);
}

#[tokio::test(start_paused = true)]
async fn rows_set_aside_that_cannot_be_seen_yet_are_set_aside_again() {
    let database = Scripted::with([Write::SeesNone, Write::SeesNone]);
    let mut write_back = WriteBack::over(database.clone(), options());
    write_back.submit(a_failed(1)).expect("there is room");
    write_back.submit(a_held(2)).expect("there is room");
    assert_eq!(all_written(&mut write_back, 2).await, [1, 2]);
    assert_eq!(database.script().batches, [2, 2, 2]);
    assert_eq!(database.script().asides, [true; 3]);
}

#[tokio::test(start_paused = true)]
async fn receipts_are_written_again_after_an_outage_and_their_chunk_is_told_then() {
    let database = Scripted::with([Write::IsLost, Write::IsLost]);
    let write_back = WriteBack::over(database.clone(), options());
    let answer = send(&write_back, [1, 2]).await;
    assert_eq!(answer.await, Ok(Receipted { completed: 2, idle: 0 }));
    assert_eq!(database.script().in_doubt, [false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn a_chunk_hears_nothing_when_the_write_back_ends() {
    let write_back = WriteBack::over(Scripted::with([Write::IsRefused]), options());
    let answer = send(&write_back, [1]).await;
    assert!(answer.await.is_err());
}

/// A database in which every published row is one that says INIT, and every receipt's row one that says PUBLISH.
#[derive(Clone)]
struct Counting;

impl Database for Counting {
    type Writer = Counting;

    async fn open(&mut self) -> Result<Opened<Counting>, StoreError> {
        Ok(Opened { writer: Counting, progress: Vec::new() })
    }
}

impl Writer for Counting {
    async fn write(&self, rows: &Rows, _: bool) -> Result<Answer, StoreError> {
        let Rows::Changes(rows) = rows else { return Ok(Answer::Aside { unseen_xids: Vec::new() }) };
        let published = rows.highest().count() as u64;
        let by_bucket = if published == 0 { vec![(7, rows.len() as u64)] } else { Vec::new() };
        Ok(Answer::Changed(Changed {
            at_us: 123,
            published,
            completed_by_bucket: by_bucket,
            ..Changed::default()
        }))
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_told_with_its_meaning_for_deadlines() {
    let mut write_back = WriteBack::over(Counting, options());
    let mut written = Written::default();
    write_back.submit(event(3)).expect("there is room");
    write_back.submit(a_failed(4)).expect("there is room");
    while written.tokens.len() < 2 {
        write_back.written(&mut written).await.expect("the worker goes on");
    }
    send(&write_back, [5]).await.await.expect("it is written");
    write_back.written(&mut written).await.expect("the worker goes on");
    let created = Some(CreatedRange { from_us: 3, to_us: 3 });
    let sent = WriteBackSummary { at_us: 123, published: 1, created, completed: Vec::new() };
    let consumed = WriteBackSummary { at_us: 123, published: 0, created: None, completed: vec![(7, 1)] };
    assert_eq!(written.summaries, [sent, consumed]);
    assert_eq!(written.tokens.len(), 2, "receipts have no token");
}
