//! The write-back of receipts against a scripted database.

use std::time::Duration;

use outbox::{CreatedRange, Token, WriteBackSummary};
use outbox_store::{BatchOutcome, RowUpdateBatch, StoreError};
use tokio::time::{Instant, timeout};

use crate::write_back::WriteBack;
use crate::write_back::connector::{BatchWriter, Connected, Connector};
use crate::write_back::fixture::{failed_update, position};
use crate::write_back::receipt_chunk::ChunkOutcome;
use crate::write_back::scripted_database::{
    ScriptedDatabase, Write, all_written, options, send_receipts, submit_published,
};
use crate::write_back::written::Written;

#[tokio::test(start_paused = true)]
async fn write_back_merges_delivery_and_receipt_of_a_row() {
    let database = ScriptedDatabase::default();
    let mut write_back = WriteBack::with_connector(database.clone(), options());
    submit_published(&mut write_back, 1).expect("the queue has room");
    let outcome = send_receipts(&write_back, [1, 2]).await;
    assert_eq!(all_written(&mut write_back, 1).await, [1]);
    assert_eq!(outcome.await, Ok(ChunkOutcome { completed: 2, idle: 0 }));
    assert_eq!(database.script().batches, [2]);
}

#[tokio::test(start_paused = true)]
async fn write_back_counts_one_of_several_receipts_as_completing() {
    let write_back = WriteBack::with_connector(ScriptedDatabase::default(), options());
    let outcome = send_receipts(&write_back, [1, 1, 1]).await;
    assert_eq!(outcome.await, Ok(ChunkOutcome { completed: 1, idle: 2 }));
}

#[tokio::test(start_paused = true)]
async fn chunk_larger_than_a_batch_is_done_when_all_is_durable() {
    let database = ScriptedDatabase::with([Write::TakesMs(50); 4]);
    let write_back = WriteBack::with_connector(database.clone(), options());
    let start = Instant::now();
    let outcome = send_receipts(&write_back, 0..35).await;
    assert_eq!(outcome.await, Ok(ChunkOutcome { completed: 35, idle: 0 }));
    assert!(start.elapsed() >= Duration::from_millis(100), "{:?}", start.elapsed());
    assert_eq!(database.script().batches, [10, 10, 10, 5]);
}

#[tokio::test(start_paused = true)]
async fn receipts_have_their_share_of_every_batch_under_load() {
    let database = ScriptedDatabase::with([Write::TakesMs(50); 100]);
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
    let database = ScriptedDatabase::default();
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
    let database = ScriptedDatabase::with([Write::ChangesNothing]);
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
    let database = ScriptedDatabase::with([Write::ChangesNothing]);
    let write_back = WriteBack::with_connector(database.clone(), options());
    let start = Instant::now();
    let outcome = send_receipts(&write_back, [1, 2]).await;
    assert_eq!(outcome.await, Ok(ChunkOutcome { completed: 0, idle: 2 }));
    let waited = start.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_millis(2100)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn receipt_after_its_delivery_report_is_idle_at_once() {
    let database = ScriptedDatabase::with([Write::ChangesNothing, Write::Succeeds, Write::ChangesNothing]);
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
    let database = ScriptedDatabase::with([Write::ChangesNothing; 2000]);
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
    let database = ScriptedDatabase::with([Write::SeesNone; 6]);
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
    let database = ScriptedDatabase::with([Write::TakesMs(50), Write::ChangesNothing, Write::TakesMs(50)]);
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
async fn chunk_is_done_after_an_outage() {
    let database = ScriptedDatabase::with([Write::IsLost, Write::IsLost]);
    let write_back = WriteBack::with_connector(database.clone(), options());
    let outcome = send_receipts(&write_back, [1, 2]).await;
    assert_eq!(outcome.await, Ok(ChunkOutcome { completed: 2, idle: 0 }));
    assert_eq!(database.script().in_doubt, [false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn chunk_is_dropped_when_the_write_back_ends() {
    let write_back = WriteBack::with_connector(ScriptedDatabase::with([Write::IsRejected]), options());
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
