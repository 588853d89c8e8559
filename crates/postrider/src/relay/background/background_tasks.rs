//! The tasks beside the main loop: replays, the reconciler, retention, and receipts.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use kafka_sink::{ReceiptChunk, Receipts, ReceiptsOptions};
use outbox::{Lsn, Metrics, RecordPosition};
use outbox_store::Database;
use reconciler::{
    DeadlineTracker, ReconcileOptions, ReplayNotices, ReplayOptions, ResendQueue, StartupScan,
    execute_replays, reconcile,
};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::config::Config;
use crate::relay::background::kafka_evidence::BrokerEvidence;
use crate::relay::background::retention::run_retention;
use crate::relay::purpose::Purpose;

/// Time for a replay to save its progress when the session ends.
const SAVE_PROGRESS_MAX: Duration = Duration::from_millis(1500);

/// The tracker that the main loop reports admitted and settled rows to.
pub(crate) fn deadline_tracker(config: &Config) -> DeadlineTracker {
    let ReconcileOptions { init_after, publish_after, .. } = reconcile_options(config);
    DeadlineTracker::new(init_after, publish_after)
}

fn reconcile_options(config: &Config) -> ReconcileOptions {
    ReconcileOptions {
        init_after: config.reconcile.init_after,
        publish_after: config.receipts.enabled.then_some(config.reconcile.publish_after),
        attempts_max: config.reconcile.attempts_max,
    }
}

/// Starts to consume receipts from the partitions that hold records of the outbox. `None` if receipts are disabled.
///
/// # Errors
///
/// librdkafka rejects the configuration.
pub(crate) fn start_receipts(
    config: &Config,
    chunks: mpsc::Sender<ReceiptChunk>,
    known: &[RecordPosition],
    metrics: &Metrics,
) -> Result<Option<Receipts>> {
    if !config.receipts.enabled {
        return Ok(None);
    }
    let options = ReceiptsOptions {
        config: config.kafka.client.clone(),
        group: config.receipts.group.clone(),
        follow: config.receipts.follow.clone(),
        metrics: metrics.clone(),
    };
    let mut receipts = Receipts::start(options, chunks).context("could not start to consume receipts")?;
    for position in known {
        receipts.observe(position);
    }
    Ok(Some(receipts))
}

/// The tasks of one session.
pub(crate) struct BackgroundTasks {
    replays: Option<JoinHandle<Result<()>>>,
    /// Aborts the other tasks when it is aborted, and reports a panic of one of them.
    supervisor: Option<JoinHandle<()>>,
    state: watch::Receiver<TaskState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TaskState {
    Running,
    /// The replay executor ended by itself.
    Finished,
    Panicked,
}

pub(crate) struct BackgroundTasksOptions<'a> {
    pub(crate) database: &'a Database,
    pub(crate) partitioned: bool,
    /// The end of the WAL when the slot was taken.
    pub(crate) horizon: Lsn,
    pub(crate) deadlines: DeadlineTracker,
    pub(crate) resends: ResendQueue,
    pub(crate) startup_scan: StartupScan,
    pub(crate) replay_notices: ReplayNotices,
}

impl BackgroundTasks {
    pub(crate) fn start(config: &Config, purpose: Purpose, options: BackgroundTasksOptions<'_>) -> Self {
        let BackgroundTasksOptions {
            database,
            partitioned,
            horizon,
            deadlines,
            resends,
            startup_scan,
            replay_notices,
        } = options;
        let (report, state) = watch::channel(TaskState::Running);
        if !config.writeback {
            return BackgroundTasks { replays: None, supervisor: None, state };
        }
        let standalone = match purpose {
            Purpose::Relay => None,
            Purpose::Replay(request) => Some(request),
        };
        let replay_options = ReplayOptions { standalone, ..ReplayOptions::default() };
        let replays = execute_replays(database.clone(), resends.clone(), replay_notices, replay_options);
        let replays = tokio::spawn({
            let guard = ReplayTaskGuard(report.clone());
            async move {
                let ended = replays.await;
                guard.finished();
                ended.map(drop).context("could not carry out the replay")
            }
        });
        let mut others = JoinSet::new();
        if standalone.is_none() {
            let evidence = BrokerEvidence::new(config);
            let options = reconcile_options(config);
            let reconcile =
                reconcile(database.clone(), evidence, options, deadlines, startup_scan, resends, horizon);
            others.spawn(reconcile);
            let complete_after = config.retention.complete_after;
            if let Some(retention) = run_retention(database.clone(), complete_after, partitioned) {
                others.spawn(retention);
            }
        }
        let supervisor = tokio::spawn(supervise(others, report));
        BackgroundTasks { replays: Some(replays), supervisor: Some(supervisor), state }
    }

    /// Completes when the replay that the session is for is done, or a task panicked; otherwise never.
    pub(crate) fn finished(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut state = self.state.clone();
        async move {
            if state.wait_for(|state| *state != TaskState::Running).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Ends the tasks, after replays saved their progress. Returns whether the replay executor ended by itself.
    ///
    /// # Errors
    ///
    /// A task panicked, or a replay could not be carried out.
    pub(crate) async fn end(mut self) -> Result<bool> {
        let state = *self.state.borrow();
        if state == TaskState::Panicked {
            bail!("a background task panicked; this is a bug in Postrider, please report it")
        }
        let Some(mut replays) = self.replays.take() else { return Ok(false) };
        match timeout(SAVE_PROGRESS_MAX, &mut replays).await {
            Ok(Ok(ended)) if state == TaskState::Finished => ended?,
            Ok(_) => {}
            Err(_) => replays.abort(),
        }
        Ok(state == TaskState::Finished)
    }
}

impl Drop for BackgroundTasks {
    fn drop(&mut self) {
        if let Some(supervisor) = &self.supervisor {
            supervisor.abort();
        }
        if let Some(replays) = &self.replays {
            replays.abort();
        }
    }
}

/// Reports the end of the replay executor, also when it panics.
struct ReplayTaskGuard(watch::Sender<TaskState>);

impl ReplayTaskGuard {
    fn finished(&self) {
        self.0.send_replace(TaskState::Finished);
    }
}

impl Drop for ReplayTaskGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.send_replace(TaskState::Panicked);
        }
    }
}

async fn supervise(mut tasks: JoinSet<()>, report: watch::Sender<TaskState>) {
    while let Some(ended) = tasks.join_next().await {
        if ended.is_err_and(|error| error.is_panic()) {
            report.send_replace(TaskState::Panicked);
        }
    }
    // The sender must outlive the tasks: a closed channel would look like a finished replay.
    report.closed().await;
}
