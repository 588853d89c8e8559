//! What has been taken from the queues and is not known to be written.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use outbox::WriteBackSummary;
use outbox_store::Changed;
use tokio::time::Instant;
use uuid::Uuid;

use super::Written;
use super::batch::{Batch, Entry, Rows, batches};
use super::batcher::{Gathering, Limits};
use super::early_receipts::{Early, Waiting};
use super::in_flight::Flights;
use super::not_yet_visible::Hidden;
use super::open_chunks::Chunks;
use super::worker::Answer;
use crate::write_back::receipt::{Receipt, ReceiptChunk};
use crate::write_back::row_update::RowChange;

pub(super) struct Unwritten {
    gathering: Gathering,
    /// Receipts of a chunk that had no room in the batch.
    incoming: VecDeque<Waiting>,
    /// To be written before what is gathered, in order.
    next: VecDeque<Batch>,
    hidden: Hidden,
    early: Early,
    chunks: Chunks,
    /// The newest record of each partition of which the delivery report is known. Reports come in the order of their
    /// partition: for a record before it none is to come.
    newest: HashMap<(Arc<str>, i32), i64>,
}

impl Unwritten {
    pub(super) fn new(limits: Limits) -> Self {
        Unwritten {
            gathering: Gathering::new(limits),
            incoming: VecDeque::new(),
            next: VecDeque::new(),
            hidden: Hidden::default(),
            early: Early::default(),
            chunks: Chunks::default(),
            newest: HashMap::new(),
        }
    }

    /// How far an earlier life came.
    pub(super) fn was_written(&mut self, progress: Vec<(Arc<str>, i32, i64)>) {
        for (topic, partition, offset) in progress {
            self.newest.entry((topic, partition)).or_insert(offset);
        }
    }

    /// How many more changes may be taken.
    pub(super) fn room(&self) -> usize {
        self.gathering.room()
    }

    pub(super) fn take_change(&mut self, change: RowChange, now: Instant) {
        let id = change.id;
        let entry = Entry::Change(change);
        let early = if entry.is_sent() { self.early.take(&id) } else { Vec::new() };
        self.gathering.add(entry, now);
        for (receipt, chunk) in early {
            self.gathering.add(Entry::Receipt(receipt, chunk), now);
        }
    }

    /// Whether another chunk of receipts may be taken.
    pub(super) fn takes_receipts(&self) -> bool {
        self.incoming.is_empty() && self.gathering.room_for_receipts() > 0
    }

    pub(super) fn take_receipts(&mut self, chunk: ReceiptChunk, now: Instant) {
        let number = self.chunks.open(chunk.receipts.len(), chunk.done);
        self.incoming.extend(chunk.receipts.into_iter().map(|receipt| (receipt, number)));
        self.fill(now);
    }

    /// Gathers receipts for which there was no room, as many as there is room for now.
    pub(super) fn fill(&mut self, now: Instant) {
        while self.gathering.room_for_receipts() > 0
            && let Some((receipt, chunk)) = self.incoming.pop_front()
        {
            self.gathering.add(Entry::Receipt(receipt, chunk), now);
        }
    }

    /// When there is something to write next, at the latest.
    pub(super) fn due(&self) -> Option<Instant> {
        [self.gathering.due(), self.hidden.due()].into_iter().flatten().min()
    }

    /// Whether a batch waits that was to be written before.
    pub(super) fn has_next(&self) -> bool {
        !self.next.is_empty()
    }

    pub(super) fn next_batch(&mut self, now: Instant) -> Option<Batch> {
        self.next.extend(batches(self.hidden.take(now), self.gathering.rows_max()));
        if self.next.is_empty() {
            let entries = self.gathering.take(now)?;
            self.next.extend(batches(self.hidden.keep_behind(entries), usize::MAX));
        }
        let batch = self.next.pop_front()?;
        if let Rows::Changes(rows) = &*batch.rows {
            let highest = rows.highest();
            self.newest
                .extend(highest.map(|(topic, partition, offset)| ((topic.clone(), partition), offset)));
        }
        Some(batch)
    }

    /// What of a batch is written; the rest stays here. `others` are those that are written after it.
    pub(super) fn answered(
        &mut self,
        batch: Batch,
        answer: Answer,
        others: &Flights,
        now: Instant,
    ) -> Written {
        let created = batch.created();
        let changed = match answer {
            Answer::Changed(changed) => changed,
            Answer::Aside { unseen_xids } => Changed { unseen_xids, ..Changed::default() },
        };
        let mut written = Written::default();
        let mut sent = HashSet::new();
        let mut completed = HashSet::new();
        let mut idle = Vec::new();
        for entry in self.hidden.keep(batch.entries, &changed.unseen_xids, now) {
            match entry {
                Entry::Receipt(receipt, chunk) if changed.completed.contains(&receipt.id) => {
                    self.chunks.resolved(chunk, completed.insert(receipt.id));
                }
                Entry::Receipt(receipt, chunk) => idle.push((receipt, chunk)),
                Entry::Change(ref change) | Entry::Again(ref change) => {
                    written.tokens.push(change.token);
                    if entry.is_sent() {
                        sent.insert(change.id);
                    }
                }
            }
        }
        if !idle.is_empty() {
            self.changed_nothing(idle, &sent, others, now);
        }
        if changed.published > 0 || !changed.completed_by_bucket.is_empty() {
            written.summaries.push(WriteBackSummary {
                at_us: changed.at_us,
                published: changed.published,
                created: created.filter(|_| changed.published > 0),
                completed: changed.completed_by_bucket,
            });
        }
        written
    }

    /// Gives up waiting for the delivery reports of receipts that have waited long enough.
    pub(super) fn give_up_waiting(&mut self, now: Instant) {
        for (_, chunk) in self.early.given_up(now) {
            self.chunks.resolved(chunk, false);
        }
    }

    /// When that is next.
    pub(super) fn give_up_due(&self) -> Option<Instant> {
        self.early.due()
    }

    pub(super) fn connection_failed(&mut self, flights: Flights) {
        for mut batch in flights.into_batches().rev() {
            batch.in_doubt = true;
            self.next.push_front(batch);
        }
    }

    /// Sees what is to become of receipts that found nothing to change in a batch that published the rows of `sent`.
    fn changed_nothing(
        &mut self,
        receipts: Vec<Waiting>,
        sent: &HashSet<Uuid>,
        others: &Flights,
        now: Instant,
    ) {
        let batches = others.batches().chain(&self.next).map(|batch| &*batch.entries);
        let waiting = batches.chain([self.hidden.entries(), self.gathering.entries()]);
        let to_come: HashSet<Uuid> =
            waiting.flatten().filter(|entry| entry.is_sent()).map(Entry::id).collect();
        for (receipt, chunk) in receipts {
            if !sent.contains(&receipt.id) && to_come.contains(&receipt.id) {
                self.gathering.add(Entry::Receipt(receipt, chunk), now);
            } else if sent.contains(&receipt.id) || self.is_reported(&receipt) {
                self.chunks.resolved(chunk, false);
            } else {
                self.early.keep(receipt, chunk, now);
            }
        }
        self.give_up_waiting(now);
    }

    /// Whether the record's delivery report has come, if one comes at all.
    fn is_reported(&self, receipt: &Receipt) -> bool {
        let newest = self.newest.get(&(receipt.topic.clone(), receipt.partition));
        newest.is_some_and(|newest| *newest >= receipt.offset)
    }
}
