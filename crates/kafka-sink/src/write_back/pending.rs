//! Updates that were taken from the queues and are not durable yet.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use outbox::{RecordPosition, Token, WriteBackSummary};
use outbox_store::{BatchOutcome, RowUpdate};
use tokio::time::Instant;
use uuid::Uuid;

use crate::write_back::batch::{Batch, batches};
use crate::write_back::batcher::{BatchLimits, Batcher};
use crate::write_back::early_receipts::EarlyReceipts;
use crate::write_back::entry::{ReportTo, WriteBackEntry};
use crate::write_back::in_flight::BatchesInFlight;
use crate::write_back::not_yet_visible::NotYetVisible;
use crate::write_back::open_chunks::OpenChunks;
use crate::write_back::receipt_chunk::ReceiptChunk;
use crate::write_back::written::Written;

/// Updates that were taken from the queues and are not durable yet, except those in flight.
pub(super) struct PendingUpdates {
    batcher: Batcher,
    /// Receipts of a chunk for which the batch has no room.
    incoming: VecDeque<WriteBackEntry>,
    /// Batches written before the one being collected, in order.
    next: VecDeque<Batch>,
    not_yet_visible: NotYetVisible,
    early: EarlyReceipts,
    chunks: OpenChunks,
    /// The highest offset of each partition whose delivery report was seen. Delivery reports of a partition arrive in
    /// order, so none is outstanding for a record before it.
    newest: HashMap<(Arc<str>, i32), i64>,
}

impl PendingUpdates {
    pub(super) fn new(limits: BatchLimits) -> Self {
        PendingUpdates {
            batcher: Batcher::new(limits),
            incoming: VecDeque::new(),
            next: VecDeque::new(),
            not_yet_visible: NotYetVisible::default(),
            early: EarlyReceipts::default(),
            chunks: OpenChunks::default(),
            newest: HashMap::new(),
        }
    }

    /// How far each partition was written back before this process started.
    pub(super) fn start_from(&mut self, written: Vec<RecordPosition>) {
        for RecordPosition { topic, partition, offset } in written {
            self.newest.entry((topic, partition)).or_insert(offset);
        }
    }

    /// How many more updates of the relay may be added.
    pub(super) fn room(&self) -> usize {
        self.batcher.room()
    }

    pub(super) fn add_update(&mut self, token: Token, update: RowUpdate, now: Instant) {
        let early = if update.is_sent() { self.early.take(&update.id) } else { Vec::new() };
        self.batcher.add(WriteBackEntry::submitted(token, update), now);
        for receipt in early {
            self.batcher.add(receipt, now);
        }
    }

    /// Whether another chunk of receipts may be added.
    pub(super) fn has_room_for_receipts(&self) -> bool {
        self.incoming.is_empty() && self.batcher.room_for_receipts() > 0
    }

    pub(super) fn add_receipts(&mut self, chunk: ReceiptChunk, now: Instant) {
        let number = self.chunks.open(chunk.receipts.len(), chunk.done);
        self.incoming
            .extend(chunk.receipts.into_iter().map(|receipt| WriteBackEntry::receipt(receipt, number)));
        self.fill(now);
    }

    /// Adds receipts to the batch that had no room in an earlier one.
    pub(super) fn fill(&mut self, now: Instant) {
        while self.batcher.room_for_receipts() > 0
            && let Some(receipt) = self.incoming.pop_front()
        {
            self.batcher.add(receipt, now);
        }
    }

    /// When the next batch is ready at the latest.
    pub(super) fn due(&self) -> Option<Instant> {
        [self.batcher.due(), self.not_yet_visible.due()].into_iter().flatten().min()
    }

    /// Whether a batch is ready, for example one whose outcome is unknown.
    pub(super) fn has_next(&self) -> bool {
        !self.next.is_empty()
    }

    pub(super) fn next_batch(&mut self, now: Instant) -> Option<Batch> {
        self.next.extend(batches(self.not_yet_visible.take(now), self.batcher.rows_max()));
        if self.next.is_empty() {
            let entries = self.batcher.take(now)?;
            self.next.extend(batches(self.not_yet_visible.keep_behind(entries), usize::MAX));
        }
        let batch = self.next.pop_front()?;
        for at in batch.updates.highest() {
            self.newest.insert((at.topic.clone(), at.partition), at.offset);
        }
        Some(batch)
    }

    /// Handles the outcome of a batch: returns what is durable and keeps the rest. `in_flight` holds the batches
    /// written after it.
    pub(super) fn batch_completed(
        &mut self,
        batch: Batch,
        outcome: BatchOutcome,
        in_flight: &BatchesInFlight,
        now: Instant,
    ) -> Written {
        let created = batch.published_created();
        let mut written = Written::default();
        let mut sent = HashSet::new();
        let mut completed = HashSet::new();
        let mut idle = Vec::new();
        for entry in self.not_yet_visible.keep(batch.entries, &outcome.unseen_xids, now) {
            let id = entry.id();
            match entry.report_to {
                ReportTo::Chunk(chunk) if outcome.completed.contains(&id) => {
                    self.chunks.resolve(chunk, completed.insert(id));
                }
                ReportTo::Chunk(_) => idle.push(entry),
                ReportTo::Relay(token) => {
                    written.tokens.push(token);
                    if entry.update.is_sent() {
                        sent.insert(id);
                    }
                }
            }
        }
        if !idle.is_empty() {
            self.keep_or_resolve(idle, &sent, in_flight, now);
        }
        if outcome.published > 0 || !outcome.completed_by_bucket.is_empty() {
            written.summaries.push(WriteBackSummary {
                at_us: outcome.at_us,
                published: outcome.published,
                created: created.filter(|_| outcome.published > 0),
                completed: outcome.completed_by_bucket,
            });
        }
        written
    }

    /// Resolves receipts that waited long enough for the delivery report of their record.
    pub(super) fn expire_early_receipts(&mut self, now: Instant) {
        for receipt in self.early.take_expired(now) {
            self.resolve_idle(&receipt);
        }
    }

    /// When the next early receipt expires.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.early.next_expiry()
    }

    /// Queues the batches of a failed connection again. Their outcome is unknown.
    pub(super) fn connection_failed(&mut self, in_flight: BatchesInFlight) {
        for mut batch in in_flight.into_batches().rev() {
            batch.in_doubt = true;
            self.next.push_front(batch);
        }
    }

    /// Decides about receipts that changed nothing in a batch that published the rows of `sent`: they are written
    /// again after the delivery report of their record, if that is pending or may still arrive.
    fn keep_or_resolve(
        &mut self,
        receipts: Vec<WriteBackEntry>,
        sent: &HashSet<Uuid>,
        in_flight: &BatchesInFlight,
        now: Instant,
    ) {
        let batches = in_flight.batches().chain(&self.next).map(|batch| &*batch.entries);
        let pending = batches.chain([self.not_yet_visible.entries(), self.batcher.entries()]);
        let to_be_sent: HashSet<Uuid> =
            pending.flatten().filter(|entry| entry.update.is_sent()).map(WriteBackEntry::id).collect();
        for receipt in receipts {
            let id = receipt.id();
            if !sent.contains(&id) && to_be_sent.contains(&id) {
                self.batcher.add(receipt, now);
            } else if sent.contains(&id) || self.is_reported(&receipt) {
                self.resolve_idle(&receipt);
            } else {
                self.early.add(receipt, now);
            }
        }
        self.expire_early_receipts(now);
    }

    fn resolve_idle(&mut self, receipt: &WriteBackEntry) {
        if let ReportTo::Chunk(chunk) = receipt.report_to {
            self.chunks.resolve(chunk, false);
        }
    }

    /// Whether the record's delivery report has arrived, unless none ever does.
    fn is_reported(&self, receipt: &WriteBackEntry) -> bool {
        receipt.update.kind.position().is_some_and(|at| {
            let newest = self.newest.get(&(at.topic.clone(), at.partition));
            newest.is_some_and(|newest| *newest >= at.offset)
        })
    }
}
