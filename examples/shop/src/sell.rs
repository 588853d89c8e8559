//! A workload in the shop: several workers serve one schedule of customers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_postgres::Config;
use tracing::warn;

use crate::connection::{connect, with_retry};
use crate::pace::OrderSchedule;
use crate::sales_worker::SalesWorker;
use crate::{Error, FaultRates, Ledger, Order, Pace, create_tables};

/// Where the shop keeps its orders.
#[derive(Clone, Debug)]
pub struct Shop {
    /// The database.
    pub postgres: Config,
    /// The outbox table, a name as SQL writes it.
    pub outbox: String,
}

/// What one workload brings.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// How many customers, and when.
    pub pace: Pace,
    /// What goes wrong.
    pub rates: FaultRates,
    /// How many workers serve at once, each with a connection of its own.
    pub workers: u16,
    /// Decides what the orders hold.
    pub seed: u64,
}

/// Creates the shop's tables where they are missing, opens the workers and serves until the workload is over, `stop`
/// becomes true or its sender is dropped; what is begun then is finished. The workload begins when the first worker is open.
///
/// A database that is away, or an outbox table that is not there yet, is waited for. A customer whose
/// connection breaks is not served again.
///
/// # Errors
/// The first error that waiting does not cure.
pub async fn sell(
    shop: &Shop,
    workload: Workload,
    ledger: Arc<dyn Ledger>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    // One worker waits for what is missing, so that the log does not say it once per worker.
    let ready = with_retry(&mut stop, async || {
        create_tables(&connect(&shop.postgres).await?).await?;
        SalesWorker::open(&shop.postgres, &shop.outbox).await
    });
    if ready.await?.is_none() {
        return Ok(());
    }
    let schedule = Arc::new(Mutex::new(None));
    let mut workers = JoinSet::new();
    for _ in 0..workload.workers.max(1) {
        workers.spawn(serve(
            shop.clone(),
            workload,
            Arc::clone(&schedule),
            Arc::clone(&ledger),
            stop.clone(),
        ));
    }
    while let Some(worker) = workers.join_next().await {
        match worker {
            Ok(served) => served?,
            // Nobody aborts these tasks, so this is a worker's panic.
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }
    Ok(())
}

async fn serve(
    shop: Shop,
    workload: Workload,
    schedule: Arc<Mutex<Option<OrderSchedule>>>,
    ledger: Arc<dyn Ledger>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    loop {
        let Some(mut worker) =
            with_retry(&mut stop, || SalesWorker::open(&shop.postgres, &shop.outbox)).await?
        else {
            return Ok(());
        };
        loop {
            let next = {
                let mut schedule = schedule.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                schedule.get_or_insert_with(|| OrderSchedule::new(workload.pace, now)).next(now)
            };
            let Some((number, at)) = next else { return Ok(()) };
            tokio::select! {
                biased;
                _ = stop.wait_for(|&stop| stop) => return Ok(()),
                () = tokio::time::sleep_until(at.into()) => {}
            }
            let order = Order::nth(workload.seed, number, workload.rates);
            match worker.serve(&order, &*ledger).await {
                Ok(()) => {}
                Err(error) if error.is_retryable() => {
                    warn!(order = %order.id, "a worker closes: {}", error.with_causes());
                    break;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
