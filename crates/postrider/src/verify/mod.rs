//! The `verify` command: is every delivered row's record where the row says?
//!
//! A merge join in flat memory. Rows come from one snapshot of the table in the order of their places; records come
//! from one partition after the other, each partition read once and forward. What is far from the next row is not
//! read.

mod progress;
mod report;
mod tally;
mod verdict;

use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, bail};
use clap::Args;
use kafka_sink::{PartitionReader, ReadError};
use outbox_store::{RowToProve, VerifyRows, VerifySelection, connect};
use tokio::sync::mpsc;

use crate::output::say;
use crate::{Config, time_argument};
use progress::Progress;
use report::Report;
use tally::Tally;
use verdict::{Missing, Verdict, judge};

/// Rows come in handfuls, so that the two sides do not wait for each other at every row; a few handfuls are under way.
const ROWS_MAX: usize = 1000;
const BYTES_MAX: usize = 1024 * 1024;
const HANDFULS_MAX: usize = 4;

/// Which rows, and how the outcome is told.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyArguments {
    /// Only rows created at that time or later; a time, or how long ago: 2026-01-31T12:00:00Z, 7d
    #[arg(long, value_name = "TIME", value_parser = time_argument::parse)]
    pub from: Option<SystemTime>,
    /// Only rows created before that time
    #[arg(long, value_name = "TIME", value_parser = time_argument::parse)]
    pub to: Option<SystemTime>,
    /// Only so many of these rows, picked at random
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
    pub sample: Option<u64>,
    /// One JSON object: table, from, to, sample, rows, proven, missing, mismatched, expired, findings (each with id,
    /// status, verdict, topic, partition, offset, found), findings_left_out, seconds
    #[arg(long)]
    pub json: bool,
}

impl VerifyArguments {
    /// What one argument alone cannot say.
    pub(crate) fn check(&self) -> Result<(), String> {
        time_argument::check_range(self.from, self.to)
    }
}

/// Compares rows and records, and says what it found on standard output.
///
/// # Errors
///
/// A record is missing or another one; or the database or Kafka cannot be asked.
pub(crate) async fn verify(config: &Config, arguments: &VerifyArguments) -> Result<()> {
    let begun_at = Instant::now();
    if !config.writeback {
        bail!(
            "rows do not say where their records are, because writeback.enabled is false; nothing can be proven"
        );
    }
    let session = connect(&config.postgres.connection, &config.postgres.tls).await?;
    let VerifyArguments { from, to, sample, json } = *arguments;
    let rows = VerifyRows::open(session, &config.names(), VerifySelection { from, to, sample }).await?;
    let tally = if rows.total() == 0 { Tally::default() } else { compare(config, rows).await? };
    let table = config.postgres.table.to_string();
    let report = Report { table, arguments, tally: &tally, took: begun_at.elapsed() };
    say(&if json { format!("{}\n", report.json()) } else { report.to_string() });
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
    let (handfuls, to_prove) = mpsc::channel(HANDFULS_MAX);
    // What librdkafka is asked blocks.
    let proving = tokio::task::spawn_blocking(move || prove(reader, to_prove, |rows| progress.at(rows)));
    loop {
        let handful = rows.next(ROWS_MAX, BYTES_MAX).await?;
        // Whoever has stopped taking rows has an error to tell.
        if handful.is_empty() || handfuls.send(handful).await.is_err() {
            break;
        }
    }
    drop(handfuls);
    Ok(proving.await.context("comparing rows and records failed")??)
}

/// Compares rows as they come, until there are no more.
fn prove(
    mut reader: PartitionReader,
    mut handfuls: mpsc::Receiver<Vec<RowToProve>>,
    mut at: impl FnMut(u64),
) -> Result<Tally, ReadError> {
    let mut tally = Tally::default();
    while let Some(handful) = handfuls.blocking_recv() {
        for row in handful {
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
