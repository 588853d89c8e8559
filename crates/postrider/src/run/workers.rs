//! What works beside the pump for one life.

use std::sync::Arc;
use std::time::Duration;

use kafka_sink::{ReceiptChunk, Receipts, ReceiptsOptions};
use outbox::Lsn;
use outbox_store::KnownPartition;
use reconciler::{
    Account, Announced, Connect, Database, Publisher, ReconcileOptions, ReplayCounts, ReplayOptions,
    execute_replays, reconcile,
};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing::error;

use super::Purpose;
use super::broker::Broker;
use super::retention::Retaining;
use super::rows::Rows;
use crate::Config;

/// Announcements that wait to be looked at.
pub(super) const ANNOUNCED_MAX: usize = 64;

/// For saving how far a replay has come.
const REPLAYS_END_MAX: Duration = Duration::from_secs(1);

/// Where the pump tells what it has seen and settled.
pub(super) fn account(config: &Config) -> Account {
    let ReconcileOptions { init_after, publish_after, .. } = options(config);
    Account::new(init_after, publish_after)
}

fn options(config: &Config) -> ReconcileOptions {
    ReconcileOptions {
        init_after: config.reconcile.init_after,
        publish_after: config.receipts.enabled.then_some(config.reconcile.publish_after),
        attempts_max: config.reconcile.attempts_max,
    }
}

/// Starts to read what was published, where rows are to become COMPLETE.
pub(super) fn receipts(
    config: &Config,
    chunks: mpsc::Sender<ReceiptChunk>,
    known: &[KnownPartition],
) -> Option<Receipts> {
    let options = ReceiptsOptions {
        config: config.kafka.client.clone(),
        group: config.receipts.group.clone(),
        follow: config.receipts.follow.clone(),
    };
    if !config.receipts.enabled {
        return None;
    }
    let mut receipts = match Receipts::start(options, chunks) {
        Ok(receipts) => receipts,
        Err(error) => {
            error!("rows do not become COMPLETE: {error}");
            return None;
        }
    };
    for KnownPartition { topic, partition, offset } in known {
        receipts.sees(&Arc::from(topic.as_str()), *partition, *offset);
    }
    Some(receipts)
}

/// The workers that plan, and that delete. They end with the life.
pub(super) struct Workers {
    replays: Option<JoinHandle<()>>,
    /// Becomes true when the replays have ended by themselves.
    finished: watch::Receiver<bool>,
    _others: JoinSet<()>,
    _retention: Option<Retaining>,
}

/// What the workers of a life need besides its configuration.
pub(super) struct Start<'a> {
    pub(super) rows: &'a Rows,
    pub(super) partitioned: bool,
    /// The end of the log when the slot was taken.
    pub(super) horizon: Lsn,
    pub(super) account: Account,
    pub(super) publisher: Publisher,
    pub(super) announced: mpsc::Receiver<Announced>,
    pub(super) counts: Arc<ReplayCounts>,
}

impl Workers {
    pub(super) fn start(config: &Config, purpose: Purpose, start: Start<'_>) -> Self {
        let Start { rows, partitioned, horizon, account, publisher, announced, counts } = start;
        let (finish, finished) = watch::channel(false);
        let mut others = JoinSet::new();
        if !config.writeback {
            return Workers { replays: None, finished, _others: others, _retention: None };
        }
        let alone = match purpose {
            Purpose::Relay => None,
            Purpose::Replay(request) => Some(request),
        };
        let Rows { postgres, tls, names } = rows.clone();
        let connect = Connect { config: postgres.clone(), tls: tls.clone(), names: names.clone() };
        let of_replays = ReplayOptions { alone, ..ReplayOptions::default() };
        let replays = execute_replays(connect, publisher.clone(), announced, of_replays, counts);
        let replays = tokio::spawn(async move {
            if let Err(error) = replays.await {
                error!("the replay cannot be carried out: {error}");
            }
            let _ = finish.send(true);
        });
        let mut retention = None;
        if alone.is_none() {
            let database = Database { config: postgres, tls, names };
            let broker = Broker::new(config);
            others.spawn(reconcile(database, broker, options(config), account, publisher, horizon));
            retention = Retaining::start(rows.clone(), config.retention.complete_after, partitioned);
        }
        Workers { replays: Some(replays), finished, _others: others, _retention: retention }
    }

    /// Resolves when what the life was for is done; never for a relay.
    pub(super) fn finished(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut finished = self.finished.clone();
        async move {
            if finished.wait_for(|finished| *finished).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Ends them; how far a replay has come is saved. Whether the replays had ended by themselves.
    pub(super) async fn end(&mut self) -> bool {
        let finished = *self.finished.borrow();
        if let Some(mut replays) = self.replays.take()
            && timeout(REPLAYS_END_MAX, &mut replays).await.is_err()
        {
            replays.abort();
        }
        finished
    }
}
