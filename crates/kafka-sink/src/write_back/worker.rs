//! The loop that writes.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::panic::resume_unwind;
use std::sync::Arc;

use outbox::Token;
use outbox_store::{Names, PublishRows, PublishWriter, StoreError, Tls, Written, connect};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::batch::{Batch, Gathering, Limits};
use super::hidden::Hidden;
use super::retry::Retry;
use crate::{Outage, Published};

// One batch is executed while the next is on its way. More would only lengthen the queue at the server, which
// executes a connection's statements one after the other.
const IN_FLIGHT_MAX: usize = 2;

/// Where a writer comes from.
pub(super) trait Database: Send + 'static {
    type Writer: Writer;
    fn open(&mut self) -> impl Future<Output = Result<Self::Writer, StoreError>> + Send;
}

/// What writes a batch durably, as [`PublishWriter::write`] does.
pub(super) trait Writer: Send + Sync + 'static {
    fn write(&self, rows: &PublishRows) -> impl Future<Output = Result<Written, StoreError>> + Send;
}

pub(super) struct PostgreSql {
    pub(super) config: tokio_postgres::Config,
    pub(super) tls: Tls,
    pub(super) names: Names,
}

impl Database for PostgreSql {
    type Writer = PublishWriter;

    async fn open(&mut self) -> Result<PublishWriter, StoreError> {
        PublishWriter::new(connect(&self.config, &self.tls).await?, &self.names).await
    }
}

impl Writer for PublishWriter {
    fn write(&self, rows: &PublishRows) -> impl Future<Output = Result<Written, StoreError>> + Send {
        PublishWriter::write(self, rows)
    }
}

pub(super) struct Worker<D> {
    pub(super) database: D,
    pub(super) limits: Limits,
    pub(super) published: mpsc::Receiver<Published>,
    pub(super) written: mpsc::Sender<Vec<Token>>,
    pub(super) outage: watch::Sender<Option<Outage>>,
}

/// What has been taken from the queue and is not known to be written.
struct Unwritten {
    gathering: Gathering,
    /// To be written before anything else: their outcome is unknown.
    repeat: VecDeque<Arc<Batch>>,
    in_flight: BTreeMap<u64, Arc<Batch>>,
    hidden: Hidden,
    next: u64,
}

impl<D: Database> Worker<D> {
    /// Ends well when nobody listens any more, and with the error when the database refuses for good.
    pub(super) async fn run(mut self) -> Result<(), StoreError> {
        let mut retry = Retry::default();
        let mut unwritten = Unwritten {
            gathering: Gathering::new(self.limits),
            repeat: VecDeque::new(),
            in_flight: BTreeMap::new(),
            hidden: Hidden::default(),
            next: 0,
        };
        loop {
            let outcome = match self.database.open().await {
                Ok(writer) => {
                    // With something to repeat, only a batch that is written proves the database to be back.
                    if unwritten.repeat.is_empty() {
                        self.back(&mut retry);
                    }
                    self.write_with(Arc::new(writer), &mut unwritten, &mut retry).await
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) if error.is_definite() => return Err(error),
                Err(error) => self.away(&error),
            }
            sleep(retry.next()).await;
        }
    }

    /// Writes over one connection until it fails.
    async fn write_with(
        &mut self,
        writer: Arc<D::Writer>,
        unwritten: &mut Unwritten,
        retry: &mut Retry,
    ) -> Result<(), StoreError> {
        let mut writes = JoinSet::new();
        let mut events = Vec::new();
        loop {
            while unwritten.in_flight.len() < IN_FLIGHT_MAX
                && let Some((number, batch)) = unwritten.next_batch(Instant::now())
            {
                let writer = writer.clone();
                writes.spawn(async move { (number, writer.write(&batch.rows).await) });
            }
            let room = unwritten.gathering.room();
            let due = [unwritten.gathering.due(), unwritten.hidden.due()].into_iter().flatten().min();
            let due = due.filter(|_| unwritten.in_flight.len() < IN_FLIGHT_MAX);
            tokio::select! {
                biased;
                Some(done) = writes.join_next() => match done {
                    Ok((number, Ok(written))) => {
                        self.back(retry);
                        let tokens = unwritten.completed(number, &written, Instant::now());
                        if !tokens.is_empty() && self.written.send(tokens).await.is_err() {
                            return Ok(());
                        }
                    }
                    Ok((_, Err(error))) => {
                        unwritten.connection_failed();
                        return Err(error);
                    }
                    Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
                    // Only the end of the runtime cancels a write while the set is there.
                    Err(_) => return Ok(()),
                },
                taken = self.published.recv_many(&mut events, room), if room > 0 => {
                    if taken == 0 {
                        return Ok(());
                    }
                    unwritten.gathering.add(&mut events, Instant::now());
                }
                () = until(due), if due.is_some() => {}
            }
        }
    }

    fn away(&self, error: &StoreError) {
        let since = match &*self.outage.borrow() {
            Some(outage) => outage.since,
            None => {
                tracing::warn!(%error, "write-back cannot reach PostgreSQL; waiting");
                Instant::now().into_std()
            }
        };
        self.outage.send_replace(Some(Outage { since, reason: error.to_string() }));
    }

    fn back(&self, retry: &mut Retry) {
        retry.succeeded();
        if self.outage.borrow().is_none() {
            return;
        }
        if let Some(outage) = self.outage.send_replace(None) {
            let lasted = Instant::now().into_std().duration_since(outage.since);
            tracing::info!(after_s = lasted.as_secs(), "write-back reaches PostgreSQL again");
        }
    }
}

impl Unwritten {
    fn next_batch(&mut self, now: Instant) -> Option<(u64, Arc<Batch>)> {
        let hidden = self.hidden.take(now);
        let batches =
            hidden.chunks(self.gathering.rows_max()).map(|events| Arc::new(Batch::new(events.to_vec())));
        self.repeat.extend(batches);
        let batch = match self.repeat.pop_front() {
            Some(batch) => batch,
            None => Arc::new(self.gathering.take(now)?),
        };
        let number = self.next;
        self.next += 1;
        self.in_flight.insert(number, batch.clone());
        Some((number, batch))
    }

    /// What of a batch is written; the rest stays here.
    fn completed(&mut self, number: u64, written: &Written, now: Instant) -> Vec<Token> {
        let Some(batch) = self.in_flight.remove(&number) else { return Vec::new() };
        let seen = self.hidden.keep(&batch.events, &written.unseen_xids, now);
        seen.into_iter().map(|event| event.token).collect()
    }

    fn connection_failed(&mut self) {
        while let Some((_, batch)) = self.in_flight.pop_last() {
            self.repeat.push_front(batch);
        }
    }
}

async fn until(due: Option<Instant>) {
    if let Some(due) = due {
        sleep_until(due).await;
    }
}
