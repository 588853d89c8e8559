//! The relay: what `postrider run` does from its start to its end.

mod delivery;
mod inbox;
mod outage;
mod pump;
mod resent;
mod retention;
mod rows;
mod server_watch;
mod shutdown;
mod source;
mod stall;

use std::time::Duration;

use anyhow::Result;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use kafka_sink::{Sink, SinkError, WriteBack, WriteBackOptions};
use outbox::{Lsn, Pipeline, Start};
use outbox_store::RunNeeds;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};
use wal_reader::Intake;

use crate::Config;
use delivery::Delivery;
use inbox::Inbox;
use pump::{Ending, Pump};
use retention::Retaining;
use rows::Rows;
use shutdown::Shutdown;
use source::{Arrival, Source, Taken, Upstream};

/// Relays until SIGTERM or SIGINT, then drains.
///
/// # Errors
///
/// Only what waiting does not mend, with its remedy.
pub(crate) async fn run(config: Config) -> Result<()> {
    let mut shutdown = Shutdown::listen()?;
    let mut pauses = new_pauses();
    let mut batching = Batching::Usual;
    loop {
        let began = Instant::now();
        let reason = match relay(&config, batching, &mut shutdown).await? {
            Ended::Asked => return Ok(()),
            Ended::ProducerLost(error) if error.is_transient() => {
                batching = if error.needs_singles() { Batching::Singles } else { Batching::Usual };
                error.to_string()
            }
            Ended::ProducerLost(error) => return Err(error.into()),
            Ended::OtherLog(reason) => reason,
        };
        warn!("{reason}; starting anew from the slot's position, what is published already is skipped");
        if began.elapsed() > LIFE_STEADY {
            pauses = new_pauses();
        }
        let pause = pauses.next().unwrap_or(PAUSE_MAX).min(PAUSE_MAX);
        if shutdown.or(sleep(pause)).await.is_none() {
            return Ok(());
        }
    }
}

/// How a life of the relay ended without a failure.
enum Ended {
    Asked,
    ProducerLost(SinkError),
    OtherLog(String),
}

/// How the producer's first records travel.
#[derive(Clone, Copy)]
enum Batching {
    Usual,
    /// One by one, to learn which record of a refused batch was meant.
    Singles,
}

const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A life this long was none of a series of failures.
const LIFE_STEADY: Duration = Duration::from_secs(60);

fn new_pauses() -> ExponentialBackoff {
    ExponentialBuilder::default().with_jitter().without_max_times().build()
}

/// For telling the server the last position, which may be away.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// One life: from the slot's confirmed position until it is asked to stop or has to start anew.
async fn relay(config: &Config, batching: Batching, shutdown: &mut Shutdown) -> Result<Ended> {
    let rows = Rows {
        postgres: config.postgres.connection.clone(),
        tls: config.postgres.tls.clone(),
        names: config.names(),
    };
    let complete_after = config.retention.complete_after.filter(|_| config.writeback);
    if complete_after != config.retention.complete_after {
        warn!(
            "with writeback.enabled = false no row becomes COMPLETE, and retention.complete_after deletes none"
        );
    }
    let needs = RunNeeds { write_back: config.writeback, retention: complete_after.is_some() };
    let Some(checked) = shutdown.or(rows.check(needs)).await else { return Ok(Ended::Asked) };
    let partitioned = checked?.partitioned;
    let mut source = Source::new(upstream(config), config.writeback);
    let Some(taken) = shutdown.or(take_slot(&mut source)).await else { return Ok(Ended::Asked) };
    let taken = taken?;
    let mut pipeline = Pipeline::new(Start {
        confirmed: taken.confirmed,
        write_back: config.writeback,
        limits: config.limits,
    });
    pipeline.connected(taken.horizon);
    let Some(oid) = shutdown.or(rows.table_oid()).await else { return Ok(Ended::Asked) };
    let _retention = Retaining::start(rows.clone(), complete_after, partitioned);
    let inbox = Inbox::new(config.postgres.table.clone(), oid?, config.columns.clone());
    let mut pump = Pump::new(source, delivery(config, batching)?, inbox, rows, pipeline);
    let ending = pump.run(shutdown).await;
    if !matches!(timeout(FAREWELL_MAX, pump.source.finish()).await, Ok(Ok(()))) {
        info!("the server was not told the last position; it sends a little again at the next start");
    }
    pump.delivery.close().await;
    match ending {
        Ending::Asked => {
            info!("stopped");
            Ok(Ended::Asked)
        }
        Ending::ProducerLost(error) => Ok(Ended::ProducerLost(error)),
        Ending::OtherLog(reason) => Ok(Ended::OtherLog(reason)),
        Ending::Failed(error) => Err(error),
    }
}

/// Waits until the slot is ours; its own position is where reading starts.
async fn take_slot(source: &mut Source) -> Result<Taken> {
    source.connect(Lsn::ZERO);
    loop {
        match source.next(Intake::Closed).await? {
            Arrival::Connected(taken) => return Ok(taken),
            Arrival::Reconnect => source.connect(Lsn::ZERO),
            Arrival::Frame(_) | Arrival::Anew(_) => {}
        }
    }
}

fn upstream(config: &Config) -> Upstream {
    let postgres = &config.postgres;
    Upstream {
        postgres: postgres.connection.clone(),
        tls: postgres.tls.clone(),
        slot: postgres.slot.clone(),
        publication: postgres.publication.clone(),
    }
}

fn delivery(config: &Config, batching: Batching) -> Result<Delivery> {
    let queue_max = config.limits.events_max;
    let make = match batching {
        Batching::Usual => Sink::new,
        Batching::Singles => Sink::new_with_singles,
    };
    let sink = make(config.routing.compiled.clone(), config.kafka.client.clone(), queue_max)?;
    let postgres = &config.postgres;
    let write_back = config.writeback.then(|| {
        let options = WriteBackOptions { queue_max, ..WriteBackOptions::default() };
        WriteBack::start(postgres.connection.clone(), postgres.tls.clone(), config.names(), options)
    });
    Ok(Delivery::new(sink, write_back))
}
