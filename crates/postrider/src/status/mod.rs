//! The `status` command: rows, slot, consumer lag, held keys and replays.

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
    OverdueAfter, Session, StoreError, connect, held_report, known_partitions, log_end, replays_report,
    rows_report, slot_state,
};

use crate::config::Config;
use crate::stdout::print;
pub use arguments::StatusArguments;
use report::{GroupLag, Section, Slot, SlotReport, StatusReport};
use text::Text;

/// Timeout of an interactive command; the report is useful without Kafka.
const KAFKA_WITHIN: Duration = Duration::from_secs(5);

const FAILED_MAX: usize = 10;
const LANES_MAX: usize = 100;
const UNFINISHED_MAX: usize = 100;
const FINISHED_MAX: usize = 5;

/// Prints the status report.
///
/// # Errors
///
/// The database or the table cannot be queried; the available sections have been printed.
pub(crate) async fn status(config: &Config, arguments: &StatusArguments) -> Result<()> {
    let session = connect(&config.postgres.connection, &config.postgres.tls).await?;
    let report = look(config, &session).await?;
    print(&if arguments.json { format!("{}\n", json::json(&report)) } else { Text(&report).to_string() });
    let wanted = config.writeback;
    report.rows.map(drop).or_else(|reason| if wanted { Err(anyhow!(reason)) } else { Ok(()) })
}

async fn look(config: &Config, session: &Session) -> Result<StatusReport> {
    let names = config.names();
    let slot = slot(session, &names.slot).await?;
    let (init_after, publish_after) = (config.reconcile.init_after, config.reconcile.publish_after);
    let mut report = StatusReport {
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
        report.rows = section(rows_report(session, &names, overdue_after, FAILED_MAX).await);
        report.held = section(held_report(session, &names, init_after, LANES_MAX).await);
        report.replays = section(replays_report(session, &names.slot, UNFINISHED_MAX, FINISHED_MAX).await);
        report.receipts = receipts(config, session).await;
    }
    Ok(report)
}

const WITHOUT_WRITEBACK: &str = "writeback.enabled is false, so rows have no status";

fn section<T>(result: Result<T, StoreError>) -> Section<T> {
    result.map_err(|error| error.to_string())
}

async fn slot(session: &Session, name: &str) -> Result<Slot, StoreError> {
    let state = match slot_state(session, name).await? {
        None => None,
        Some(state) => {
            let end = log_end(session).await?;
            Some(SlotReport {
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

/// The lag of the receipts group and of each followed group, in the partitions that hold records of the outbox.
async fn receipts(config: &Config, session: &Session) -> Section<Vec<GroupLag>> {
    if !config.receipts.enabled {
        return Err("receipts.enabled is false, so no row becomes COMPLETE".to_owned());
    }
    let partitions = section(known_partitions(session).await)?;
    let partitions = partitions.into_iter().map(|known| (known.topic, known.partition)).collect();
    let kafka = KafkaInspector::new(&config.kafka.client);
    match tokio::time::timeout(KAFKA_WITHIN, lag::read_lags(&kafka, &config.receipts, partitions)).await {
        Ok(lags) => lags.map_err(|error| error.to_string()),
        Err(_) => Err(format!("Kafka has not answered within {} s", KAFKA_WITHIN.as_secs())),
    }
}
