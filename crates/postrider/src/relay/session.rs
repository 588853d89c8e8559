//! One session of the relay: take the slot, start the parts, run the main loop, shut down.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use kafka_sink::{EventRouter, WriteBack, WriteBackOptions};
use outbox::{InFlightLedger, LedgerOptions, Lsn, Metrics, RecordPosition};
use outbox_store::{Database, Session, StoreError, known_partitions, load_held_keys, table_oid};
use reconciler::{DeadlineTracker, StartupScan, replay_notices, resend_queue};
use tokio::time::timeout;
use tracing::{info, warn};
use wal_reader::Intake;

use crate::config::Config;
use crate::relay::background::background_tasks::{self, BackgroundTasks, BackgroundTasksOptions};
use crate::relay::exit::ExitReason;
use crate::relay::main_loop::{MainLoop, MainLoopParts};
use crate::relay::preflight;
use crate::relay::publish::failure_policy::FailurePolicy;
use crate::relay::publish::held_key_drain::HeldKeyDrains;
use crate::relay::publish::held_keys::HeldKeys;
use crate::relay::publish::in_flight::InFlight;
use crate::relay::publish::producer::{ProducerOptions, ReplaceableProducer};
use crate::relay::publish::publisher::{Publisher, PublisherParts};
use crate::relay::purpose::Purpose;
use crate::relay::shutdown::Shutdown;
use crate::relay::source::connection::{ReplicationSource, SlotOptions, SlotStart, SourceEvent};
use crate::relay::source::decode::OutboxDecoder;
use crate::relay::store::Store;

/// A session. Another follows when the WAL turns out to be another one.
pub(super) struct RelaySession<'a> {
    pub(super) config: &'a Config,
    pub(super) purpose: Purpose,
    pub(super) metrics: &'a Metrics,
    /// The deadlines and the start-up scan outlive the session.
    pub(super) deadlines: &'a DeadlineTracker,
    pub(super) startup_scan: &'a StartupScan,
    /// Whether this is the first session of the process: a slot in use then belongs to another process.
    pub(super) is_first: bool,
}

/// How a session ended without an error.
pub(super) enum SessionOutcome {
    StopRequested,
    /// The replay that it was for is done.
    Finished,
    /// Another process holds the slot, and the session does not stand by.
    SlotInUse,
    /// Positions in the WAL are void.
    LogChanged(String),
}

/// Timeout of the final standby status update.
const FINAL_STATUS_MAX: Duration = Duration::from_secs(1);

/// Resend commands that wait for the main loop. Each holds a whole row, so there are few.
const RESENDS_MAX: usize = 16;

/// What earlier processes left in the database.
struct StoredState {
    table_oid: Option<u32>,
    held_keys: HeldKeys,
    partitions: Vec<RecordPosition>,
}

impl RelaySession<'_> {
    /// Runs the session until it is stopped, its replay is done, or the log changed.
    ///
    /// # Errors
    ///
    /// One that retrying does not fix, with its remedy.
    pub(super) async fn run(&self, shutdown: &mut Shutdown) -> Result<SessionOutcome> {
        let config = self.config;
        let database = config.database();
        let is_relay = self.purpose == Purpose::Relay;
        let Some(checked) = shutdown.unless_requested(preflight::run(&database, config)).await else {
            return Ok(SessionOutcome::StopRequested);
        };
        let (connection, checked) = checked?;
        let mut source = ReplicationSource::new(self.slot_options(&database), self.metrics.clone());
        let taken = shutdown.unless_requested(take_slot(&mut source, connection)).await;
        let Some(taken) = taken else { return Ok(SessionOutcome::StopRequested) };
        let Some((start, connection)) = taken? else { return Ok(SessionOutcome::SlotInUse) };
        let state = shutdown.unless_requested(stored_state(&database, connection, config.writeback)).await;
        let Some(state) = state else { return Ok(SessionOutcome::StopRequested) };
        let StoredState { table_oid, held_keys, partitions } = state?;
        if !held_keys.is_empty() {
            warn!(keys = held_keys.len(), "keys are held behind FAILED rows; see `postrider status`");
        }

        let mut ledger = InFlightLedger::new(LedgerOptions {
            confirmed: start.confirmed,
            write_back: config.writeback,
            limits: config.limits,
        });
        ledger.connected(start.horizon);
        let deadlines = self.deadlines.clone();
        let (resend_queue, resends) = resend_queue(RESENDS_MAX);
        let (replays, replay_notices) = replay_notices();
        let bucket_width = Duration::from_micros(deadlines.publish_width_us());
        let write_back = config.writeback.then(|| start_write_back(&database, config, bucket_width));
        let receipts = match (&write_back, is_relay) {
            (Some(write_back), true) => {
                background_tasks::start_receipts(config, write_back.receipts(), &partitions, self.metrics)?
            }
            _ => None,
        };
        let tasks = BackgroundTasks::start(
            config,
            self.purpose,
            BackgroundTasksOptions {
                database: &database,
                partitioned: checked.partitioned,
                horizon: start.horizon,
                deadlines: deadlines.clone(),
                resends: resend_queue.clone(),
                startup_scan: self.startup_scan.clone(),
                replay_notices,
            },
        );
        let store = Store { database: database.clone() };
        let publisher = Publisher::new(PublisherParts {
            in_flight: InFlight::new(ReplaceableProducer::start(producer_options(config))?, write_back),
            router: EventRouter::new(config.routing.compiled.clone()),
            held_keys,
            deadlines,
            receipts,
            policy: FailurePolicy {
                policy: config.failure.policy,
                dead_letter_topic: config.failure.dead_letter_topic.as_deref().map(Arc::from),
                writes_back: config.writeback,
            },
            names: database.names.clone(),
            metrics: self.metrics.clone(),
        });
        let mut main_loop = MainLoop::new(MainLoopParts {
            source,
            decoder: OutboxDecoder::new(&database.names, table_oid),
            ledger,
            publisher,
            drains: HeldKeyDrains::new(store.clone(), resend_queue),
            resends,
            replays,
            replay_only: !is_relay,
            horizon: start.horizon,
            store,
            metrics: self.metrics.clone(),
        });
        let mut until = shutdown.or_when(tasks.finished());
        let reason = main_loop.run(&mut until).await;
        let (closed, finished) = tokio::join!(close(main_loop.into_parts()), tasks.end());
        let () = closed;
        self.outcome(reason, finished?, shutdown)
    }

    fn outcome(&self, reason: ExitReason, finished: bool, shutdown: &Shutdown) -> Result<SessionOutcome> {
        match reason {
            ExitReason::StopRequested if finished && !shutdown.is_requested() => Ok(SessionOutcome::Finished),
            ExitReason::StopRequested => {
                info!(
                    published = self.metrics.events_published.get(),
                    written_back = self.metrics.rows_written_back.get(),
                    completed = self.metrics.rows_completed.get(),
                    failed = self.metrics.rows_failed.get(),
                    already_delivered = self.metrics.events_already_delivered.get(),
                    "stopped"
                );
                Ok(SessionOutcome::StopRequested)
            }
            ExitReason::LogChanged(reason) => Ok(SessionOutcome::LogChanged(reason)),
            ExitReason::Failed(error) => Err(error),
        }
    }

    fn slot_options(&self, database: &Database) -> SlotOptions {
        let postgres = &self.config.postgres;
        SlotOptions {
            database: database.clone(),
            slot: postgres.slot.clone(),
            publication: postgres.publication.clone(),
            stands_by: self.purpose == Purpose::Relay || !self.is_first,
            writes_back: self.config.writeback,
        }
    }
}

/// Waits until this process holds the slot; reading starts at the slot's own position. `None` if another process holds
/// it and the source does not stand by.
async fn take_slot(
    source: &mut ReplicationSource,
    connection: Session,
) -> Result<Option<(SlotStart, Session)>> {
    source.connect_first(connection);
    loop {
        match source.next(Intake::Closed).await? {
            SourceEvent::Connected(start, connection) => return Ok(Some((start, connection))),
            SourceEvent::Reconnect => source.connect(Lsn::ZERO),
            SourceEvent::SlotInUse => return Ok(None),
            SourceEvent::Frame(_) | SourceEvent::LogChanged(_) => {}
        }
    }
}

/// Read once the slot is taken, when no other process changes it any more.
async fn stored_state(database: &Database, connection: Session, writes_back: bool) -> Result<StoredState> {
    let names = &database.names;
    let read = async |session: &Session| -> Result<StoredState, StoreError> {
        let table_oid = table_oid(session, names).await?;
        if !writes_back {
            return Ok(StoredState { table_oid, held_keys: HeldKeys::default(), partitions: Vec::new() });
        }
        let held_keys = HeldKeys::load(load_held_keys(session, names).await?);
        Ok(StoredState { table_oid, held_keys, partitions: known_partitions(session).await? })
    };
    match read(&connection).await {
        Err(error) if error.is_retryable() => Ok(database.with_retry(read).await?),
        state => Ok(state?),
    }
}

/// Releases the slot and ends receipts and the producer.
async fn close(parts: MainLoopParts) {
    let MainLoopParts { source, publisher, resends, drains, replays, .. } = parts;
    // Dropping these tells the background tasks that the session ended.
    drop((resends, drains, replays));
    let (in_flight, receipts) = publisher.into_parts();
    let close_receipts = async {
        if let Some(receipts) = receipts {
            receipts.close().await;
        }
    };
    let (finished, ()) = tokio::join!(timeout(FINAL_STATUS_MAX, source.finish()), close_receipts);
    if !matches!(finished, Ok(Ok(()))) {
        info!(
            "could not send the final standby status update; the next start reads a little of the WAL again"
        );
    }
    in_flight.close().await;
}

fn producer_options(config: &Config) -> ProducerOptions {
    ProducerOptions {
        routing: config.routing.compiled.clone(),
        client: config.kafka.client.clone(),
        records_max: config.limits.events_max,
    }
}

fn start_write_back(database: &Database, config: &Config, bucket_width: Duration) -> WriteBack {
    let options =
        WriteBackOptions { queue_max: config.limits.events_max, bucket_width, ..WriteBackOptions::default() };
    WriteBack::start(database.clone(), options)
}
