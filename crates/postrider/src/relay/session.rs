//! One life of the relay: from the slot's confirmed position until it is asked to stop or has to start anew.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use kafka_sink::{Sink, SinkError, WriteBack, WriteBackOptions};
use outbox::{InFlightLedger, Lsn};
use reconciler::{DeadlineTracker, StartupScan, replay_notices, resend_queue};
use tokio::time::timeout;
use tracing::{info, warn};
use wal_reader::Intake;

use crate::config::{Config, Policy};
use crate::relay::Purpose;
use crate::relay::background::tasks::{self, Workers};
use crate::relay::exit::Ending;
use crate::relay::main_loop::{Parts, Planning, Pump};
use crate::relay::publish::dispatch::{self, Dispatch};
use crate::relay::publish::held_key_drain::Releases;
use crate::relay::publish::held_keys::Lanes;
use crate::relay::publish::in_flight::Delivery;
use crate::relay::publish::rejections::Verdicts;
use crate::relay::shutdown::Shutdown;
use crate::relay::source::connection::{Arrival, Source, Taken, Upstream};
use crate::relay::source::decode::Inbox;
use crate::relay::store::Rows;

/// What a life is to do.
pub(super) struct Life<'a> {
    pub(super) config: &'a Config,
    pub(super) purpose: Purpose,
    pub(super) batching: Batching,
    /// Both outlive the session.
    pub(super) deadlines: &'a DeadlineTracker,
    pub(super) startup: &'a StartupScan,
    /// Whether there was none before it in this process: a slot that is taken then is another's.
    pub(super) is_first: bool,
}

/// How a life ended without a failure.
pub(super) enum Ended {
    Asked,
    /// What it was for is done.
    Finished,
    /// Another holds the slot, and this life was not to wait for it.
    SlotTaken,
    ProducerLost(SinkError),
    /// Kafka refused a row; the next life sets it aside.
    Refused,
    OtherLog(String),
}

/// How the producer's first records travel.
#[derive(Clone, Copy)]
pub(super) enum Batching {
    Usual,
    /// One by one, to learn which record of a refused batch was meant.
    Singles,
}

/// For telling the server the last position, which may be away.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// Planned rows that wait for the pump. Each is a whole row, so there are few; the pump takes them at once when it
/// has room.
const PLANNED_MAX: usize = 16;

impl Life<'_> {
    /// Lives it. `verdicts` outlive it.
    pub(super) async fn live(&self, verdicts: &mut Verdicts, shutdown: &mut Shutdown) -> Result<Ended> {
        let config = self.config;
        let rows = Rows {
            postgres: config.postgres.connection.clone(),
            tls: config.postgres.tls.clone(),
            names: config.names(),
        };
        let Some(checked) = shutdown.or(rows.check(config)).await else { return Ok(Ended::Asked) };
        let partitioned = checked?.partitioned;
        let is_relay = self.purpose == Purpose::Relay;
        let mut source = Source::new(upstream(config, is_relay || !self.is_first), config.writeback);
        let Some(taken) = shutdown.or(take_slot(&mut source)).await else { return Ok(Ended::Asked) };
        let Some(taken) = taken? else { return Ok(Ended::SlotTaken) };
        let Some(found) = shutdown.or(found(&rows, config)).await else { return Ok(Ended::Asked) };
        let Found { oid, lanes, partitions } = found?;

        let mut ledger = InFlightLedger::new(outbox::LedgerOptions {
            confirmed: taken.confirmed,
            write_back: config.writeback,
            limits: config.limits,
        });
        ledger.connected(taken.horizon);
        if !lanes.is_empty() {
            warn!(
                keys = lanes.len(),
                "keys are held back behind rows that could not be published; see `postrider status`"
            );
        }
        let deadlines = self.deadlines.clone();
        let (resends, intake) = resend_queue(PLANNED_MAX);
        let (replays, notices) = replay_notices();
        let width = Duration::from_micros(deadlines.publish_width_us());
        let write_back = config.writeback.then(|| write_back(config, width));
        let receipts = match (&write_back, is_relay) {
            (Some(write_back), true) => tasks::receipts(config, write_back.receipts(), &partitions)?,
            _ => None,
        };
        let start = tasks::Start {
            rows: &rows,
            partitioned,
            horizon: taken.horizon,
            deadlines: deadlines.clone(),
            startup: self.startup.clone(),
            resends: resends.clone(),
            notices,
        };
        let workers = Workers::start(config, self.purpose, start);
        let dispatch = Dispatch::new(dispatch::Start {
            delivery: Delivery::new(sink(config, self.batching)?, write_back),
            verdicts: std::mem::take(verdicts),
            lanes,
            deadlines,
            receipts,
            policy: config.failure.policy,
            dead_letter_topic: config.failure.dead_letter_topic.as_deref().map(Arc::from),
            names: config.names(),
        });
        let mut pump = Pump::new(Parts {
            source,
            dispatch,
            inbox: Inbox::new(
                config.postgres.table.clone(),
                oid,
                config.columns.clone(),
                config.postgres.slot.clone(),
            ),
            ledger,
            planning: Planning { intake, alone: !is_relay, horizon: taken.horizon },
            releases: Releases::new(rows.clone(), resends),
            replays,
            rows,
        });
        let mut until = shutdown.or_when(workers.finished());
        let ending = pump.run(&mut until).await;
        let Pump { source, dispatch, planning, releases, replays, .. } = pump;
        // Those who plan learn by it that the life is over.
        drop((planning, releases, replays));
        let (spent, finished) = tokio::join!(farewell(source, dispatch), workers.end());
        *verdicts = spent;
        let finished = finished?;
        Ok(match ending {
            Ending::Asked if finished && !shutdown.is_asked() => Ended::Finished,
            Ending::Asked => {
                info!("stopped");
                Ended::Asked
            }
            Ending::ProducerLost(error) => Ended::ProducerLost(error),
            Ending::Refused => Ended::Refused,
            Ending::OtherLog(reason) => Ended::OtherLog(reason),
            Ending::Failed(error) => return Err(error),
        })
    }
}

async fn farewell(source: Source, dispatch: Dispatch) -> Verdicts {
    let (delivery, verdicts, receipts) = dispatch.into_parts();
    let receipts = async {
        if let Some(receipts) = receipts {
            receipts.close().await;
        }
    };
    // At the same time: whoever asked the process to end waits.
    let (told, ()) = tokio::join!(timeout(FAREWELL_MAX, source.finish()), receipts);
    if !matches!(told, Ok(Ok(()))) {
        info!("the server was not told the last position; it sends a little again at the next start");
    }
    delivery.close().await;
    verdicts
}

/// What earlier lives left in the database.
struct Found {
    oid: Option<u32>,
    lanes: Lanes,
    partitions: Vec<outbox::RecordPosition>,
}

async fn found(rows: &Rows, config: &Config) -> Result<Found> {
    let oid = rows.table_oid().await?;
    if !config.writeback {
        return Ok(Found { oid, lanes: Lanes::default(), partitions: Vec::new() });
    }
    Ok(Found { oid, lanes: Lanes::load(rows.lanes().await?), partitions: rows.known_partitions().await? })
}

/// Waits until the slot is ours; its own position is where reading starts. `None` where it is another's and not to
/// be waited for.
async fn take_slot(source: &mut Source) -> Result<Option<Taken>> {
    source.connect(Lsn::ZERO);
    loop {
        match source.next(Intake::Closed).await? {
            Arrival::Connected(taken) => return Ok(Some(taken)),
            Arrival::Reconnect => source.connect(Lsn::ZERO),
            Arrival::SlotTaken => return Ok(None),
            Arrival::Frame(_) | Arrival::Anew(_) => {}
        }
    }
}

fn upstream(config: &Config, stands_by: bool) -> Upstream {
    let postgres = &config.postgres;
    Upstream {
        postgres: postgres.connection.clone(),
        tls: postgres.tls.clone(),
        slot: postgres.slot.clone(),
        publication: postgres.publication.clone(),
        stands_by,
    }
}

fn sink(config: &Config, batching: Batching) -> Result<Sink> {
    let make = match batching {
        Batching::Usual => Sink::new,
        Batching::Singles => Sink::new_with_singles,
    };
    let mut client = config.kafka.client.clone();
    if config.failure.policy != Policy::Park {
        // What is on the wire behind a refused record may be stored: a broker takes any sequence number from a
        // producer that is new to a partition. Where a refused row is to hold up others, nothing is on the wire.
        client.set("max.in.flight.requests.per.connection", "1");
    }
    Ok(make(config.routing.compiled.clone(), client, config.limits.events_max)?)
}

fn write_back(config: &Config, bucket_width: Duration) -> WriteBack {
    let options =
        WriteBackOptions { queue_max: config.limits.events_max, bucket_width, ..WriteBackOptions::default() };
    let postgres = &config.postgres;
    WriteBack::start(postgres.connection.clone(), postgres.tls.clone(), config.names(), options)
}
