//! The `status` command: how everything stands, from the table, the slot and Kafka.

mod arguments;
mod json;
mod lag;
mod report;
#[cfg(test)]
mod tests;
mod text;
mod units;

use std::time::Duration;

use anyhow::{Result, anyhow};
use kafka_sink::KafkaInspector;
use outbox_store::{
    OverdueAfter, Session, StoreError, connect, held_overview, known_partitions, log_end, replays_overview,
    rows_overview, slot_state,
};

use crate::config::Config;
use crate::stdout::say;
pub use arguments::StatusArguments;
use report::{GroupLag, Slot, SlotNow, Standing, Told};
use text::Text;

/// A person waits for it, and the rest is worth showing without it.
const KAFKA_WITHIN: Duration = Duration::from_secs(5);

const FAILED_MAX: usize = 10;
const LANES_MAX: usize = 100;
const UNFINISHED_MAX: usize = 100;
const FINISHED_MAX: usize = 5;

/// Looks, and says what it sees on standard output.
///
/// # Errors
///
/// The database cannot be asked, or the table: then what is known of the rest has been said.
pub(crate) async fn status(config: &Config, arguments: &StatusArguments) -> Result<()> {
    let session = connect(&config.postgres.connection, &config.postgres.tls).await?;
    let standing = look(config, &session).await?;
    say(&if arguments.json { format!("{}\n", json::json(&standing)) } else { Text(&standing).to_string() });
    let wanted = config.writeback;
    standing.rows.map(drop).or_else(|reason| if wanted { Err(anyhow!(reason)) } else { Ok(()) })
}

async fn look(config: &Config, session: &Session) -> Result<Standing> {
    let names = config.names();
    let slot = slot(session, &names.slot).await?;
    let (init_after, publish_after) = (config.reconcile.init_after, config.reconcile.publish_after);
    let mut standing = Standing {
        table: names.table.to_string(),
        init_after,
        publish_after,
        slot,
        rows: Err(WITHOUT_WRITEBACK.to_owned()),
        receipts: Err(WITHOUT_WRITEBACK.to_owned()),
        held: Err(WITHOUT_WRITEBACK.to_owned()),
        replays: Err(WITHOUT_WRITEBACK.to_owned()),
    };
    if config.writeback {
        let overdue_after = OverdueAfter { init: init_after, publish: publish_after };
        standing.rows = told(rows_overview(session, &names, overdue_after, FAILED_MAX).await);
        standing.held = told(held_overview(session, &names, init_after, LANES_MAX).await);
        standing.replays = told(replays_overview(session, &names.slot, UNFINISHED_MAX, FINISHED_MAX).await);
        standing.receipts = receipts(config, session).await;
    }
    Ok(standing)
}

const WITHOUT_WRITEBACK: &str = "writeback.enabled is false, so rows do not say how they stand";

fn told<T>(result: Result<T, StoreError>) -> Told<T> {
    result.map_err(|error| error.to_string())
}

async fn slot(session: &Session, name: &str) -> Result<Slot, StoreError> {
    let state = match slot_state(session, name).await? {
        None => None,
        Some(state) => {
            let end = log_end(session).await?;
            Some(SlotNow {
                active: state.active,
                wal_status: state.wal_status,
                retained_bytes: state.retained_bytes,
                confirmed: state.confirmed_flush_lsn,
                lag_bytes: state.confirmed_flush_lsn.map(|confirmed| end.bytes_since(confirmed)),
            })
        }
    };
    Ok(Slot { name: name.to_owned(), state })
}

/// How far our own group and each that is followed are behind, in the partitions that were written to.
async fn receipts(config: &Config, session: &Session) -> Told<Vec<GroupLag>> {
    if !config.receipts.enabled {
        return Err("receipts.enabled is false, so no row becomes COMPLETE".to_owned());
    }
    let partitions = told(known_partitions(session).await)?;
    let partitions = partitions.into_iter().map(|known| (known.topic, known.partition)).collect();
    let kafka = KafkaInspector::new(&config.kafka.client);
    match tokio::time::timeout(KAFKA_WITHIN, lag::read_lags(&kafka, &config.receipts, partitions)).await {
        Ok(lags) => lags.map_err(|error| error.to_string()),
        Err(_) => Err(format!("Kafka has not answered within {} s", KAFKA_WITHIN.as_secs())),
    }
}
