//! The workload of the shop: several workers take orders from one schedule.

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

/// The database of the shop.
#[derive(Clone, Debug)]
pub struct Shop {
    /// The database.
    pub postgres: Config,
    /// The outbox table, as an SQL name.
    pub outbox: String,
}

/// The orders of one call of [`sell`].
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// The rate of the orders, and when they end.
    pub pace: Pace,
    /// The injected faults.
    pub rates: FaultRates,
    /// The number of parallel workers, each with its own connection.
    pub workers: u16,
    /// The seed of the orders' content.
    pub seed: u64,
}

/// Creates the tables of the shop if they are missing, starts the workers and takes orders until the workload ends,
/// `stop` becomes true or its sender is dropped. Orders that are in progress are completed. The time of the workload
/// starts with the first connected worker.
///
/// An unavailable database and a missing outbox table are retried. An order whose connection breaks is not repeated.
///
/// # Errors
/// The first error that is not retryable.
pub async fn sell(
    shop: &Shop,
    workload: Workload,
    ledger: Arc<dyn Ledger>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    // One connection waits for the database and the table, so that the reason is logged once and not per worker.
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
            // The tasks are never aborted, so this is a panic of a worker.
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
                    warn!(order = %order.id, error = error.with_causes(), "order failed; reconnecting");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
