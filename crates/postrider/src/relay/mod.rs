//! The relay: `postrider run`, and `postrider replay` where no relay runs.

mod background;
mod exit;
mod main_loop;
mod preflight;
mod publish;
mod purpose;
mod session;
mod shutdown;
mod source;
mod stall;
mod store;

use std::time::Duration;

use anyhow::Result;
use outbox::Metrics;
use outbox_store::Backoff;
use reconciler::StartupScan;
use tokio::time::{Instant, sleep};
use tracing::warn;
use uuid::Uuid;

use crate::config::Config;
use crate::relay::background::background_tasks::deadline_tracker;
use crate::relay::purpose::Purpose;
use crate::relay::session::{RelaySession, SessionOutcome};
use crate::relay::shutdown::Shutdown;

/// The outcome of a replay that this process carried out itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StandaloneOutcome {
    /// It was carried out; its state is in `postrider.replay`.
    Ended,
    /// A relay holds the slot and will carry it out.
    SlotInUse,
    /// Stopped before its end; the next process resumes it.
    Interrupted,
}

/// A session that ran for this long ends a series of failures.
const STEADY_AFTER: Duration = Duration::from_secs(60);

/// Relays until SIGTERM or SIGINT, then drains.
///
/// # Errors
///
/// One that retrying does not fix, with its remedy.
pub(crate) async fn run(config: Config) -> Result<()> {
    run_sessions(&config, Purpose::Relay).await.map(drop)
}

/// Takes the slot, so that no relay can run, and carries out the unfinished requests up to this one. The WAL is left
/// unread: nothing else is published.
///
/// # Errors
///
/// One that retrying does not fix, with its remedy.
pub(crate) async fn replay_standalone(config: &Config, request: Uuid) -> Result<StandaloneOutcome> {
    run_sessions(config, Purpose::Replay(request)).await
}

async fn run_sessions(config: &Config, purpose: Purpose) -> Result<StandaloneOutcome> {
    let mut shutdown = Shutdown::listen()?;
    let mut backoff = Backoff::default();
    let metrics = Metrics::new()?;
    let deadlines = deadline_tracker(config);
    let startup_scan = StartupScan::default();
    let mut is_first = true;
    loop {
        let started_at = Instant::now();
        let session = RelaySession {
            config,
            purpose,
            metrics: &metrics,
            deadlines: &deadlines,
            startup_scan: &startup_scan,
            is_first,
        };
        is_first = false;
        let reason = match session.run(&mut shutdown).await? {
            SessionOutcome::StopRequested => return Ok(StandaloneOutcome::Interrupted),
            SessionOutcome::Finished => return Ok(StandaloneOutcome::Ended),
            SessionOutcome::SlotInUse => return Ok(StandaloneOutcome::SlotInUse),
            SessionOutcome::LogChanged(reason) => {
                startup_scan.reset();
                reason
            }
        };
        warn!(
            reason,
            "the WAL changed; reading again from the slot's position, delivered events are skipped"
        );
        if started_at.elapsed() > STEADY_AFTER {
            backoff = Backoff::default();
        }
        if shutdown.unless_requested(sleep(backoff.next_delay())).await.is_none() {
            return Ok(StandaloneOutcome::Interrupted);
        }
    }
}
