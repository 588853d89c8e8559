//! The relay: what `postrider run` does from its start to its end, and `postrider replay` where no relay runs.

mod background;
mod exit;
mod main_loop;
mod outage;
mod publish;
mod session;
mod shutdown;
mod source;
mod stall;
mod store;

use std::time::Duration;

use anyhow::Result;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep};
use tracing::warn;
use uuid::Uuid;

use reconciler::StartupScan;

use crate::config::Config;
use background::tasks;
use publish::rejections::Verdicts;
use session::{Batching, Ended, Life};
use shutdown::Shutdown;

/// What the lives of a relay are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To relay, until asked to stop.
    Relay,
    /// To carry out the requests up to this one, and nothing else.
    Replay(Uuid),
}

/// What came of a replay that was to be carried out without a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alone {
    /// It was carried out, as far as its own state tells.
    Ended,
    /// A relay holds the slot, and will carry it out.
    SlotTaken,
    /// Asked to stop before its end; the next to come goes on from there.
    Interrupted,
}

/// Relays until SIGTERM or SIGINT, then drains.
///
/// # Errors
///
/// Only what waiting does not mend, with its remedy.
pub(crate) async fn run(config: Config) -> Result<()> {
    live(&config, Purpose::Relay).await.map(drop)
}

/// Takes the slot, so that no relay runs meanwhile, and carries out the unfinished requests up to this one. The
/// log is left unread: nothing else is published.
///
/// # Errors
///
/// Only what waiting does not mend, with its remedy.
pub(crate) async fn replay_alone(config: &Config, request: Uuid) -> Result<Alone> {
    live(config, Purpose::Replay(request)).await
}

/// One life after the other, until one of them ends for good.
async fn live(config: &Config, purpose: Purpose) -> Result<Alone> {
    let mut shutdown = Shutdown::listen()?;
    let mut pauses = new_pauses();
    let mut batching = Batching::Usual;
    let mut verdicts = Verdicts::default();
    let deadlines = tasks::deadlines(config);
    let startup = StartupScan::default();
    let mut is_first = true;
    loop {
        let began = Instant::now();
        let life = Life { config, purpose, batching, deadlines: &deadlines, startup: &startup, is_first };
        is_first = false;
        batching = Batching::Usual;
        let reason = match life.live(&mut verdicts, &mut shutdown).await? {
            Ended::Asked => return Ok(Alone::Interrupted),
            Ended::Finished => return Ok(Alone::Ended),
            Ended::SlotTaken => return Ok(Alone::SlotTaken),
            Ended::Refused => continue,
            Ended::ProducerLost(error) if error.is_transient() => {
                batching = if error.needs_singles() { Batching::Singles } else { Batching::Usual };
                error.to_string()
            }
            Ended::ProducerLost(error) => return Err(error.into()),
            Ended::OtherLog(reason) => {
                startup.reset();
                reason
            }
        };
        warn!("{reason}; starting anew from the slot's position, what is published already is skipped");
        if began.elapsed() > LIFE_STEADY {
            pauses = new_pauses();
        }
        let pause = pauses.next().unwrap_or(PAUSE_MAX).min(PAUSE_MAX);
        if shutdown.or(sleep(pause)).await.is_none() {
            return Ok(Alone::Interrupted);
        }
    }
}

const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A life this long was none of a series of failures.
const LIFE_STEADY: Duration = Duration::from_secs(60);

fn new_pauses() -> ExponentialBackoff {
    ExponentialBuilder::default().with_jitter().without_max_times().build()
}
