//! What works beside the pump for one life.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use kafka_sink::{ReceiptChunk, Receipts, ReceiptsOptions};
use outbox::Lsn;
use outbox::RecordPosition;
use outbox_store::Database;
use reconciler::{
    DeadlineTracker, ReconcileOptions, ReplayNotices, ReplayOptions, ResendQueue, StartupScan,
    execute_replays, reconcile,
};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::config::Config;
use crate::relay::Purpose;
use crate::relay::background::kafka_evidence::Broker;
use crate::relay::background::retention::retaining;
use crate::relay::store::Rows;

/// For saving how far a replay has come.
const REPLAYS_END_MAX: Duration = Duration::from_millis(1500);

/// The deadlines of the configuration, without any rows.
pub(crate) fn deadlines(config: &Config) -> DeadlineTracker {
    let ReconcileOptions { init_after, publish_after, .. } = options(config);
    DeadlineTracker::new(init_after, publish_after)
}

fn options(config: &Config) -> ReconcileOptions {
    ReconcileOptions {
        init_after: config.reconcile.init_after,
        publish_after: config.receipts.enabled.then_some(config.reconcile.publish_after),
        attempts_max: config.reconcile.attempts_max,
    }
}

/// Starts to read what was published, where rows are to become COMPLETE.
///
/// # Errors
///
/// librdkafka takes no such configuration.
pub(crate) fn receipts(
    config: &Config,
    chunks: mpsc::Sender<ReceiptChunk>,
    known: &[RecordPosition],
) -> Result<Option<Receipts>> {
    if !config.receipts.enabled {
        return Ok(None);
    }
    let options = ReceiptsOptions {
        config: config.kafka.client.clone(),
        group: config.receipts.group.clone(),
        follow: config.receipts.follow.clone(),
    };
    let mut receipts = Receipts::start(options, chunks).context("receipts cannot be consumed")?;
    known.iter().for_each(|at| receipts.observe(at));
    Ok(Some(receipts))
}

/// The workers that plan, and that delete. They end with the life.
pub(crate) struct Workers {
    replays: Option<JoinHandle<Result<()>>>,
    /// Ends the others with it, and tells when one of them has died.
    supervisor: Option<JoinHandle<()>>,
    state: watch::Receiver<State>,
}

/// How the workers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Working,
    /// The replays have ended by themselves.
    Finished,
    /// One of them has panicked.
    Died,
}

/// What the workers of a life need besides its configuration.
pub(crate) struct Start<'a> {
    pub(crate) rows: &'a Rows,
    pub(crate) partitioned: bool,
    /// The end of the log when the slot was taken.
    pub(crate) horizon: Lsn,
    pub(crate) deadlines: DeadlineTracker,
    pub(crate) startup: StartupScan,
    pub(crate) resends: ResendQueue,
    pub(crate) notices: ReplayNotices,
}

impl Workers {
    pub(crate) fn start(config: &Config, purpose: Purpose, start: Start<'_>) -> Self {
        let Start { rows, partitioned, horizon, deadlines, startup, resends, notices } = start;
        let (tell, state) = watch::channel(State::Working);
        if !config.writeback {
            return Workers { replays: None, supervisor: None, state };
        }
        let standalone = match purpose {
            Purpose::Relay => None,
            Purpose::Replay(request) => Some(request),
        };
        let Rows { postgres, tls, names } = rows.clone();
        let database = Database { config: postgres, tls, names };
        let of_replays = ReplayOptions { standalone, ..ReplayOptions::default() };
        let replays = execute_replays(database.clone(), resends.clone(), notices, of_replays);
        let replays = tokio::spawn({
            let end = EndOfReplays(tell.clone());
            async move {
                let ended = replays.await;
                end.by_itself();
                ended.map(drop).context("the replay cannot be carried out")
            }
        });
        let mut others = JoinSet::new();
        if standalone.is_none() {
            let broker = Broker::new(config);
            others.spawn(reconcile(database, broker, options(config), deadlines, startup, resends, horizon));
            if let Some(retention) = retaining(rows.clone(), config.retention.complete_after, partitioned) {
                others.spawn(retention);
            }
        }
        let supervisor = tokio::spawn(supervise(others, tell));
        Workers { replays: Some(replays), supervisor: Some(supervisor), state }
    }

    /// Resolves when what the life was for is done, or one of the workers has died; for a relay that is well, never.
    pub(crate) fn finished(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut state = self.state.clone();
        async move {
            if state.wait_for(|state| *state != State::Working).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Ends them; how far a replay has come is saved. Whether the replays had ended by themselves.
    ///
    /// # Errors
    ///
    /// One of them has died, or a replay could not be carried out at all.
    pub(crate) async fn end(mut self) -> Result<bool> {
        let state = *self.state.borrow();
        if state == State::Died {
            bail!("a worker of the relay has panicked; this is a bug in Postrider, please report it")
        }
        let Some(mut replays) = self.replays.take() else { return Ok(false) };
        match timeout(REPLAYS_END_MAX, &mut replays).await {
            Ok(Ok(ended)) if state == State::Finished => ended?,
            Ok(_) => {}
            Err(_) => replays.abort(),
        }
        Ok(state == State::Finished)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(supervisor) = &self.supervisor {
            supervisor.abort();
        }
        if let Some(replays) = &self.replays {
            replays.abort();
        }
    }
}

/// Tells that the replays have ended, in whichever way they do.
struct EndOfReplays(watch::Sender<State>);

impl EndOfReplays {
    fn by_itself(&self) {
        self.0.send_replace(State::Finished);
    }
}

impl Drop for EndOfReplays {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.send_replace(State::Died);
        }
    }
}

/// Tells when one of them panics; an end of another kind is that of the life.
async fn supervise(mut workers: JoinSet<()>, tell: watch::Sender<State>) {
    while let Some(ended) = workers.join_next().await {
        if ended.is_err_and(|error| error.is_panic()) {
            tell.send_replace(State::Died);
        }
    }
    // Kept, so that whoever waits for news waits.
    tell.closed().await;
}
