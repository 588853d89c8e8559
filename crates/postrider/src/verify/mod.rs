//! The `verify` command: checks that every delivered row's record is at the row's position.
//!
//! A merge join in constant memory. Rows come from one snapshot of the table, ordered by position; each partition is read
//! once, forward. Ranges without rows are skipped.

mod arguments;
mod progress;
mod report;
mod result;
mod tally;

use std::time::Instant;

use anyhow::{Context, Result, bail};
use kafka_sink::{PartitionReader, ReadError};
use outbox_store::{RowToVerify, VerifyRows, VerifySelection, connect};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::stdout::print;
pub use arguments::VerifyArguments;
use progress::Progress;
use report::Report;
use result::{Missing, Verdict, judge};
use tally::Tally;

/// Rows are passed in batches, so that the two sides do not wait for each other at every row.
const ROWS_MAX: usize = 1000;
const BYTES_MAX: usize = 1024 * 1024;
const BATCHES_MAX: usize = 4;

/// Compares rows and records and prints the report.
///
/// # Errors
///
/// A record is missing or differs, or the database or Kafka does not answer.
pub(crate) async fn verify(config: &Config, arguments: &VerifyArguments) -> Result<()> {
    let begun_at = Instant::now();
    if !config.writeback {
        bail!("writeback.enabled is false, so rows have no positions and nothing can be proven");
    }
    let session = connect(&config.postgres.connection, &config.postgres.tls).await?;
    let VerifyArguments { from, to, sample, json } = *arguments;
    let rows = VerifyRows::open(session, &config.names(), VerifySelection { from, to, sample }).await?;
    let tally = if rows.total() == 0 { Tally::default() } else { compare(config, rows).await? };
    let table = config.postgres.table.to_string();
    let report = Report { table, arguments, tally: &tally, took: begun_at.elapsed() };
    print(&if json { format!("{}\n", report.json()) } else { report.to_string() });
    match tally.wrong() {
        0 => Ok(()),
        _ => bail!(
            "{} of {} rows are not proven: {} missing, {} mismatched",
            tally.wrong(),
            tally.rows(),
            tally.missing,
            tally.mismatched
        ),
    }
}

async fn compare(config: &Config, mut rows: VerifyRows) -> Result<Tally> {
    let reader = PartitionReader::new(&config.kafka.client, &config.receipts.group)?;
    let mut progress = Progress::begin(rows.total());
    let (batches, to_verify) = mpsc::channel(BATCHES_MAX);
    // librdkafka blocks.
    let verifying =
        tokio::task::spawn_blocking(move || verify_batches(reader, to_verify, |rows| progress.at(rows)));
    loop {
        let batch = rows.next(ROWS_MAX, BYTES_MAX).await?;
        // The receiver has stopped with an error, which is returned below.
        if batch.is_empty() || batches.send(batch).await.is_err() {
            break;
        }
    }
    drop(batches);
    Ok(verifying.await.context("comparing rows and records failed")??)
}

/// Compares rows as they come, until there are no more.
fn verify_batches(
    mut reader: PartitionReader,
    mut batches: mpsc::Receiver<Vec<RowToVerify>>,
    mut at: impl FnMut(u64),
) -> Result<Tally, ReadError> {
    let mut tally = Tally::default();
    while let Some(batch) = batches.blocking_recv() {
        for row in batch {
            let verdict = match &row.place {
                None => Verdict::Missing(Missing::NoPlace),
                Some(place) => {
                    reader.at(&place.topic, place.partition, place.offset, |found| judge(&row, found))?
                }
            };
            tally.count(row, verdict);
        }
        at(tally.rows());
    }
    Ok(tally)
}
