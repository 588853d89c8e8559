//! A scripted database for tests of the write-back, with tokio's clock paused.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outbox::{RecordPosition, Token};
use outbox_store::{BatchOutcome, Completed, RowUpdateBatch, StoreError};
use tokio::sync::oneshot;

use crate::write_back::connector::{BatchWriter, Connected, Connector};
use crate::write_back::fixture::{XID, published_update, receipt_of};
use crate::write_back::receipt_chunk::{ChunkOutcome, ReceiptChunk};
use crate::write_back::written::Written;
use crate::write_back::{WriteBack, WriteBackError, WriteBackOptions};

#[derive(Clone, Copy, Debug)]
pub(super) enum Write {
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
pub(super) struct Script {
    pub(super) connects_fail: usize,
    pub(super) writes: VecDeque<Write>,
    pub(super) connects: usize,
    pub(super) executing: usize,
    pub(super) executing_max: usize,
    /// The number of rows of each batch.
    pub(super) batches: Vec<usize>,
    /// Whether the rows of the batch fail or are held.
    pub(super) fail_or_hold: Vec<bool>,
    pub(super) in_doubt: Vec<bool>,
    pub(super) written: Vec<RecordPosition>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct ScriptedDatabase(Arc<Mutex<Script>>);

impl ScriptedDatabase {
    pub(super) fn with(writes: impl IntoIterator<Item = Write>) -> Self {
        let scripted = ScriptedDatabase::default();
        scripted.script().writes.extend(writes);
        scripted
    }

    pub(super) fn script(&self) -> std::sync::MutexGuard<'_, Script> {
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

impl Connector for ScriptedDatabase {
    type Writer = ScriptedDatabase;

    async fn connect(&mut self) -> Result<Connected<ScriptedDatabase>, StoreError> {
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

impl BatchWriter for ScriptedDatabase {
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

pub(super) fn submit_published(write_back: &mut WriteBack, number: usize) -> Result<(), WriteBackError> {
    write_back.submit(Token::from_usize(number), published_update(number))
}

pub(super) async fn send_receipts(
    write_back: &WriteBack,
    rows: impl IntoIterator<Item = usize>,
) -> oneshot::Receiver<ChunkOutcome> {
    let (done, outcome) = oneshot::channel();
    let chunk = ReceiptChunk { receipts: rows.into_iter().map(receipt_of).collect(), done };
    write_back.receipts().send(chunk).await.expect("the worker runs");
    outcome
}

pub(super) fn options() -> WriteBackOptions {
    WriteBackOptions { batch_rows_max: 10, queue_max: 100, ..WriteBackOptions::default() }
}

pub(super) async fn all_written(write_back: &mut WriteBack, events: usize) -> Vec<usize> {
    let mut written = Written::default();
    while written.tokens.len() < events {
        write_back.written(&mut written).await.expect("the worker runs");
    }
    let mut numbers: Vec<_> = written.tokens.iter().map(|token| token.to_usize()).collect();
    numbers.sort_unstable();
    numbers
}
