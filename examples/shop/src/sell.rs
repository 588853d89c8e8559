//! A day in the shop: several tills serve one queue of customers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_postgres::Config;
use tracing::warn;

use crate::connection::{connect, patiently};
use crate::pace::Queue;
use crate::till::Till;
use crate::{Error, Ledger, Odds, Order, Pace, create_tables};

/// Where the shop keeps its orders.
#[derive(Clone, Debug)]
pub struct Shop {
    /// The database.
    pub postgres: Config,
    /// The outbox table, a name as SQL writes it.
    pub outbox: String,
}

/// What one day brings.
#[derive(Clone, Copy, Debug)]
pub struct Day {
    /// How many customers, and when.
    pub pace: Pace,
    /// What goes wrong.
    pub odds: Odds,
    /// How many tills serve at once, each with a connection of its own.
    pub tills: u16,
    /// Decides what the orders hold.
    pub seed: u64,
}

/// Creates the shop's tables where they are missing, opens the tills and serves until the day is over, `stop`
/// becomes true or its sender is dropped; what is begun then is finished. The day begins when the first till is open.
///
/// A database that is away, or an outbox table that is not there yet, is waited for. A customer whose
/// connection breaks is not served again.
///
/// # Errors
/// The first error that waiting does not cure.
pub async fn sell(
    shop: &Shop,
    day: Day,
    ledger: Arc<dyn Ledger>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    // One till waits for what is missing, so that the log does not say it once per till.
    let ready = patiently(&mut stop, async || {
        create_tables(&connect(&shop.postgres).await?).await?;
        Till::open(&shop.postgres, &shop.outbox).await
    });
    if ready.await?.is_none() {
        return Ok(());
    }
    let queue = Arc::new(Mutex::new(None));
    let mut tills = JoinSet::new();
    for _ in 0..day.tills.max(1) {
        tills.spawn(serve(shop.clone(), day, Arc::clone(&queue), Arc::clone(&ledger), stop.clone()));
    }
    while let Some(till) = tills.join_next().await {
        match till {
            Ok(served) => served?,
            // Nobody aborts these tasks, so this is a till's panic.
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }
    Ok(())
}

async fn serve(
    shop: Shop,
    day: Day,
    queue: Arc<Mutex<Option<Queue>>>,
    ledger: Arc<dyn Ledger>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    loop {
        let Some(mut till) = patiently(&mut stop, || Till::open(&shop.postgres, &shop.outbox)).await? else {
            return Ok(());
        };
        loop {
            let next = {
                let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                queue.get_or_insert_with(|| Queue::new(day.pace, now)).next(now)
            };
            let Some((number, at)) = next else { return Ok(()) };
            tokio::select! {
                biased;
                _ = stop.wait_for(|&stop| stop) => return Ok(()),
                () = tokio::time::sleep_until(at.into()) => {}
            }
            let order = Order::nth(day.seed, number, day.odds);
            match till.serve(&order, &*ledger).await {
                Ok(()) => {}
                Err(error) if error.is_transient() => {
                    warn!(order = %order.id, "a till closes: {}", error.with_causes());
                    break;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
