//! The write-back against a scripted database, with tokio's clock paused.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outbox::{CreatedRange, RecordPosition, Token, WriteBackSummary};
use outbox_store::{BatchOutcome, Completed, RowUpdateBatch, StoreError};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::write_back::connector::{BatchWriter, Connected, Connector};
use crate::write_back::fixture::{
    XID, failed_update, held_update, position, published_update, receipt_of, resent_update,
};
use crate::write_back::receipt_chunk::{ChunkOutcome, ReceiptChunk};
use crate::write_back::written::Written;
use crate::write_back::{WriteBack, WriteBackError, WriteBackOptions};

#[derive(Clone, Copy, Debug)]
enum Write {
    Succeeds,
    /// The rows' transaction is not visible yet.
    SeesNone,
    /// The rows were deleted, or are not visible although their transaction is unknown.
    ChangesNothing,
    TakesMs(u64),
    /// The connection is lost before the answer.
    IsLost,
    IsRejected,
    Panics,
}

#[derive(Debug, Default)]
struct Script {
    connects_fail: usize,
    writes: VecDeque<Write>,
    connects: usize,
    executing: usize,
    executing_max: usize,
    /// The number of rows of each batch.
    batches: Vec<usize>,
    /// Whether the rows of the batch fail or are held.
    fail_or_hold: Vec<bool>,
    in_doubt: Vec<bool>,
    written: Vec<RecordPosition>,
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
        self.0.lock().expect("no test panics while it holds the lock")
    }

    async fn execute(&self, updates: &RowUpdateBatch, in_doubt: bool) -> Result<BatchOutcome, StoreError> {
        let write = {
            let mut script = self.script();
            script.batches.push(updates.len());
            script.fail_or_hold.push(updates.is_fail_or_hold());
            script.in_doubt.push(in_doubt);
            script.writes.pop_front().unwrap_or(Write::Succeeds)
        };
        let none = || match updates.is_fail_or_hold() {
            true => Completed::All,
            false => Completed::Only(HashSet::new()),
        };
        match write {
            Write::Succeeds => Ok(BatchOutcome::default()),
            Write::SeesNone => {
                Ok(BatchOutcome { completed: none(), unseen_xids: vec![XID], ..BatchOutcome::default() })
            }
            Write::ChangesNothing => Ok(BatchOutcome { completed: none(), ..BatchOutcome::default() }),
            Write::TakesMs(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(BatchOutcome::default())
            }
            Write::IsLost => Err(StoreError::retryable("writing", "connection lost")),
            Write::IsRejected => Err(StoreError::definite("writing", "permission denied", "grant it")),
            Write::Panics => panic!("scripted panic"),
        }
    }
}

impl Connector for Scripted {
    type Writer = Scripted;

    async fn connect(&mut self) -> Result<Connected<Scripted>, StoreError> {
        let mut script = self.script();
        script.connects += 1;
        if script.connects_fail > 0 {
            script.connects_fail -= 1;
            return Err(StoreError::retryable("connecting", "refused"));
        }
        let written = script.written.clone();
        drop(script);
        Ok(Connected { writer: self.clone(), written })
    }
}

impl BatchWriter for Scripted {
    async fn write(&self, updates: &RowUpdateBatch, in_doubt: bool) -> Result<BatchOutcome, StoreError> {
        {
            let mut script = self.script();
            script.executing += 1;
            script.executing_max = script.executing_max.max(script.executing);
        }
        let outcome = self.execute(updates, in_doubt).await;
        self.script().executing -= 1;
        outcome
    }
}

fn submit_published(write_back: &mut WriteBack, number: usize) -> Result<(), WriteBackError> {
    write_back.submit(Token::from_usize(number), published_update(number))
}

async fn send_receipts(
    write_back: &WriteBack,
    rows: impl IntoIterator<Item = usize>,
) -> oneshot::Receiver<ChunkOutcome> {
    let (done, outcome) = oneshot::channel();
    let chunk = ReceiptChunk { receipts: rows.into_iter().map(receipt_of).collect(), done };
    write_back.receipts().send(chunk).await.expect("the worker runs");
    outcome
}

fn options() -> WriteBackOptions {
    WriteBackOptions { batch_rows_max: 10, queue_max: 100, ..WriteBackOptions::default() }
}

async fn all_written(write_back: &mut WriteBack, events: usize) -> Vec<usize> {
    let mut written = Written::default();
    while written.tokens.len() < events {
        write_back.written(&mut written).await.expect("the worker runs");
    }
    let mut numbers: Vec<_> = written.tokens.iter().map(|token| token.to_usize()).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test(start_paused = true)]
async fn write_back_reports_each_event_once_in_full_batches() {
    let database = Scripted::default();
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    for number in 0..35 {
        submit_published(&mut write_back, number).expect("the queue has room");
    }
    assert_eq!(all_written(&mut write_back, 35).await, (0..35).collect::<Vec<_>>());
    assert_eq!(database.script().batches, [10, 10, 10, 5]);
}

#[tokio::test(start_paused = true)]
async fn write_back_executes_at_most_two_batches_at_a_time() {
    let database = Scripted::with([Write::TakesMs(50); 10]);
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    for number in 0..100 {
        submit_published(&mut write_back, number).expect("the queue has room");
    }
    all_written(&mut write_back, 100).await;
    assert_eq!(database.script().executing_max, 2);
}

#[tokio::test(start_paused = true)]
async fn write_back_collects_the_next_batch_while_two_are_in_flight() {
    let database = Scripted::with([Write::TakesMs(50), Write::TakesMs(50)]);
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
    let database = Scripted::with([Write::TakesMs(20), Write::IsLost, Write::IsLost]);
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
    let database = Scripted::default();
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
    let database = Scripted::with([Write::IsLost; 1000]);
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    submit_published(&mut write_back, 0).expect("the queue has room");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(write_back.outage().is_some());
    let connects = database.script().connects;
    assert!((10..40).contains(&connects), "{connects}");
}

#[tokio::test(start_paused = true)]
async fn write_back_returns_a_permanent_error_once_and_ends() {
    let mut write_back = WriteBack::with_connector(Scripted::with([Write::IsRejected]), options());
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
    let mut write_back = WriteBack::with_connector(Scripted::with([Write::Panics]), options());
    submit_published(&mut write_back, 0).expect("the queue has room");
    let error = write_back.written(&mut Written::default()).await.expect_err("it panicked");
    assert!(matches!(&error, WriteBackError::Panicked(message) if message == "scripted panic"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn submit_returns_overrun_without_blocking() {
    let database = Scripted::default();
    database.script().connects_fail = usize::MAX;
    let mut write_back = WriteBack::with_connector(database, options());
    for number in 0..100 {
        submit_published(&mut write_back, number).expect("the queue has room");
    }
    assert!(matches!(submit_published(&mut write_back, 100), Err(WriteBackError::Overrun(100))));
}

#[tokio::test(start_paused = true)]
async fn written_is_cancel_safe() {
    let database = Scripted::with([Write::TakesMs(50)]);
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
    let database = Scripted::with([Write::SeesNone; 12]);
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    for number in 0..4 {
        submit_published(&mut write_back, number).expect("the queue has room");
    }
    assert_eq!(all_written(&mut write_back, 4).await, [0, 1, 2, 3]);
    assert_eq!(database.script().batches, [4; 13]);
}

#[tokio::test(start_paused = true)]
async fn write_back_merges_delivery_and_receipt_of_a_row() {
    let database = Scripted::default();
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    submit_published(&mut write_back, 1).expect("the queue has room");
    let outcome = send_receipts(&write_back, [1, 2]).await;
    assert_eq!(all_written(&mut write_back, 1).await, [1]);
    assert_eq!(outcome.await, Ok(ChunkOutcome { completed: 2, idle: 0 }));
    assert_eq!(database.script().batches, [2]);
}

#[tokio::test(start_paused = true)]
async fn write_back_counts_one_of_several_receipts_as_completing() {
    let write_back = WriteBack::with_connector(Scripted::default(), options());
    let outcome = send_receipts(&write_back, [1, 1, 1]).await;
    assert_eq!(outcome.await, Ok(ChunkOutcome { completed: 1, idle: 2 }));
}

#[tokio::test(start_paused = true)]
async fn chunk_larger_than_a_batch_is_done_when_all_is_durable() {
    let database = Scripted::with([Write::TakesMs(50); 4]);
    let write_back = WriteBack::with_connector(database.clone(), options());
    let start = Instant::now();
    let outcome = send_receipts(&write_back, 0..35).await;
    assert_eq!(outcome.await, Ok(ChunkOutcome { completed: 35, idle: 0 }));
    assert!(start.elapsed() >= Duration::from_millis(100), "{:?}", start.elapsed());
    assert_eq!(database.script().batches, [10, 10, 10, 5]);
}

#[tokio::test(start_paused = true)]
async fn receipts_have_their_share_of_every_batch_under_load() {
    let database = Scripted::with([Write::TakesMs(50); 100]);
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    for number in 0..100 {
        submit_published(&mut write_back, number).expect("the queue has room");
    }
    let outcome = send_receipts(&write_back, 1000..1016).await;
    all_written(&mut write_back, 100).await;
    assert_eq!(outcome.await, Ok(ChunkOutcome { completed: 16, idle: 0 }));
    let batches = database.script().batches.clone();
    assert_eq!(batches.iter().sum::<usize>(), 116);
    assert!(batches.iter().all(|rows| *rows <= 12), "{batches:?}");
    assert!(batches.len() <= 11, "{batches:?}");
}

#[tokio::test(start_paused = true)]
async fn outage_blocks_receipts_but_not_the_relay() {
    let database = Scripted::default();
    database.script().connects_fail = usize::MAX;
    let mut write_back = WriteBack::with_connector(database, options());
    let mut sent = 0;
    while timeout(Duration::from_secs(1), send_receipts(&write_back, [sent])).await.is_ok() {
        sent += 1;
        assert!(sent < 100, "the queue has an end");
    }
    for number in 0..100 {
        submit_published(&mut write_back, number).expect("the queue has room");
    }
}

#[tokio::test(start_paused = true)]
async fn early_receipt_is_written_with_its_delivery_report() {
    let database = Scripted::with([Write::ChangesNothing]);
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    let mut outcome = send_receipts(&write_back, [1]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(outcome.try_recv().is_err(), "it waits");
    submit_published(&mut write_back, 1).expect("the queue has room");
    assert_eq!(outcome.await, Ok(ChunkOutcome { completed: 1, idle: 0 }));
    assert_eq!(all_written(&mut write_back, 1).await, [1]);
    assert_eq!(database.script().batches, [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn early_receipt_without_a_delivery_report_is_idle_after_two_seconds() {
    let database = Scripted::with([Write::ChangesNothing]);
    let write_back = WriteBack::with_connector(database.clone(), options());
    let start = Instant::now();
    let outcome = send_receipts(&write_back, [1, 2]).await;
    assert_eq!(outcome.await, Ok(ChunkOutcome { completed: 0, idle: 2 }));
    let waited = start.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_millis(2100)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn receipt_after_its_delivery_report_is_idle_at_once() {
    let database = Scripted::with([Write::ChangesNothing, Write::Succeeds, Write::ChangesNothing]);
    database.script().written = vec![position(5)];
    let mut write_back = WriteBack::with_connector(database, options());
    let start = Instant::now();
    let old = send_receipts(&write_back, [4, 5]).await;
    assert_eq!(old.await, Ok(ChunkOutcome { completed: 0, idle: 2 }), "written by an earlier process");
    submit_published(&mut write_back, 9).expect("the queue has room");
    all_written(&mut write_back, 1).await;
    let outcome = send_receipts(&write_back, [8]).await;
    assert_eq!(
        outcome.await,
        Ok(ChunkOutcome { completed: 0, idle: 1 }),
        "the reports of a partition are in order"
    );
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn early_receipts_above_the_maximum_expire_oldest_first() {
    let database = Scripted::with([Write::ChangesNothing; 2000]);
    let write_back = WriteBack::with_connector(database, options());
    let start = Instant::now();
    let first = send_receipts(&write_back, 0..1000).await;
    let mut others = Vec::new();
    for chunk in 1..12 {
        others.push(send_receipts(&write_back, chunk * 1000..(chunk + 1) * 1000).await);
    }
    assert_eq!(first.await, Ok(ChunkOutcome { completed: 0, idle: 1000 }));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    for other in others {
        assert_eq!(other.await, Ok(ChunkOutcome { completed: 0, idle: 1000 }));
    }
}

#[tokio::test(start_paused = true)]
async fn receipt_waits_while_its_row_is_not_visible() {
    let database = Scripted::with([Write::SeesNone; 6]);
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    submit_published(&mut write_back, 1).expect("the queue has room");
    while database.script().batches.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let outcome = send_receipts(&write_back, [1]).await;
    assert_eq!(all_written(&mut write_back, 1).await, [1]);
    assert_eq!(outcome.await, Ok(ChunkOutcome { completed: 1, idle: 0 }));
    assert!(database.script().batches.iter().all(|rows| *rows == 1));
}

#[tokio::test(start_paused = true)]
async fn receipt_one_batch_before_its_delivery_report_is_written_again() {
    let database = Scripted::with([Write::TakesMs(50), Write::ChangesNothing, Write::TakesMs(50)]);
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    // The first batch occupies the connection; the second has the receipt, the third its delivery report.
    submit_published(&mut write_back, 7).expect("the queue has room");
    tokio::time::sleep(Duration::from_millis(5)).await;
    let outcome = send_receipts(&write_back, [8]).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    submit_published(&mut write_back, 8).expect("the queue has room");
    assert_eq!(outcome.await, Ok(ChunkOutcome { completed: 1, idle: 0 }));
    assert_eq!(all_written(&mut write_back, 2).await, [7, 8]);
}

#[tokio::test(start_paused = true)]
async fn write_back_keeps_the_order_of_each_row() {
    let database = Scripted::default();
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
    let database = Scripted::with([Write::SeesNone, Write::SeesNone]);
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    write_back.submit(Token::from_usize(1), failed_update(1)).expect("the queue has room");
    write_back.submit(Token::from_usize(2), held_update(2)).expect("the queue has room");
    assert_eq!(all_written(&mut write_back, 2).await, [1, 2]);
    assert_eq!(database.script().batches, [2, 2, 2]);
    assert_eq!(database.script().fail_or_hold, [true; 3]);
}

#[tokio::test(start_paused = true)]
async fn chunk_is_done_after_an_outage() {
    let database = Scripted::with([Write::IsLost, Write::IsLost]);
    let write_back = WriteBack::with_connector(database.clone(), options());
    let outcome = send_receipts(&write_back, [1, 2]).await;
    assert_eq!(outcome.await, Ok(ChunkOutcome { completed: 2, idle: 0 }));
    assert_eq!(database.script().in_doubt, [false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn chunk_is_dropped_when_the_write_back_ends() {
    let write_back = WriteBack::with_connector(Scripted::with([Write::IsRejected]), options());
    let outcome = send_receipts(&write_back, [1]).await;
    assert!(outcome.await.is_err());
}

/// A database in which every published row was INIT, and the row of every receipt was PUBLISH.
#[derive(Clone)]
struct Counting;

impl Connector for Counting {
    type Writer = Counting;

    async fn connect(&mut self) -> Result<Connected<Counting>, StoreError> {
        Ok(Connected { writer: Counting, written: Vec::new() })
    }
}

impl BatchWriter for Counting {
    async fn write(&self, updates: &RowUpdateBatch, _: bool) -> Result<BatchOutcome, StoreError> {
        if updates.is_fail_or_hold() {
            return Ok(BatchOutcome::default());
        }
        let published = updates.highest().len() as u64;
        let completed_by_bucket = if published == 0 { vec![(7, updates.len() as u64)] } else { Vec::new() };
        Ok(BatchOutcome { at_us: 123, published, completed_by_bucket, ..BatchOutcome::default() })
    }
}

#[tokio::test(start_paused = true)]
async fn write_back_summarizes_published_and_completed_rows() {
    let mut write_back = WriteBack::with_connector(Counting, options());
    let mut written = Written::default();
    submit_published(&mut write_back, 3).expect("the queue has room");
    write_back.submit(Token::from_usize(4), failed_update(4)).expect("the queue has room");
    while written.tokens.len() < 2 {
        write_back.written(&mut written).await.expect("the worker runs");
    }
    send_receipts(&write_back, [5]).await.await.expect("it is written");
    write_back.written(&mut written).await.expect("the worker runs");
    let created = Some(CreatedRange { from_us: 3, to_us: 3 });
    let sent = WriteBackSummary { at_us: 123, published: 1, created, completed: Vec::new() };
    let consumed = WriteBackSummary { at_us: 123, published: 0, created: None, completed: vec![(7, 1)] };
    assert_eq!(written.summaries, [sent, consumed]);
    assert_eq!(written.tokens.len(), 2, "receipts have no token");
}
