//! Deleting rows that are COMPLETE for long enough, and making the partitions of the months to come.

use std::collections::BTreeSet;
use std::time::Duration;

use outbox_store::{Expired, Mark, Month, Retention, StoreError, connect, keep_ahead};
use tokio::time::{Instant, sleep};
use tracing::{debug, error, info, warn};

use crate::relay::outage::Pauses;
use crate::relay::store::Rows;

/// The work, which goes on until it is dropped and never ends the relay's life, if there is anything to do: nobody is
/// asked to find that out.
pub(crate) fn retaining(
    rows: Rows,
    complete_after: Option<Duration>,
    partitioned: bool,
) -> Option<impl Future<Output = ()> + Send + 'static> {
    let worker = Worker { rows, complete_after, partitioned, kept: BTreeSet::new(), told: BTreeSet::new() };
    (complete_after.is_some() || partitioned).then(|| worker.work())
}

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A batch is followed by a pause of this many times its own duration: four fifths of the time, and more when the
/// server is slow, are left to others.
const PAUSE_FACTOR: u32 = 4;
const PAUSE_MIN: Duration = Duration::from_millis(10);

// A slot's durable position moves about every 15 s, when the server has logged which transactions are running
// (and for as long as one of them is older than the mark, not at all).
const SLOT_PAUSE_MIN: Duration = Duration::from_secs(1);
const SLOT_PAUSE_MAX: Duration = Duration::from_secs(60);

/// How long it is between two passes.
fn every(complete_after: Duration) -> Duration {
    (complete_after / 4).clamp(Duration::from_secs(1), HOUR)
}

struct Worker {
    rows: Rows,
    complete_after: Option<Duration>,
    partitioned: bool,
    /// Months that were told to be kept.
    kept: BTreeSet<Month>,
    /// Errors that were told.
    told: BTreeSet<String>,
}

/// What a pass has deleted.
#[derive(Default)]
struct Deleted {
    rows: u64,
    partitions: Vec<String>,
}

impl Worker {
    async fn work(mut self) {
        let mut ahead_at = Instant::now();
        loop {
            if self.partitioned && Instant::now() >= ahead_at {
                let done = self.make_partitions().await;
                ahead_at = Instant::now() + if done { DAY } else { HOUR };
            }
            if let Some(complete_after) = self.complete_after {
                self.pass(complete_after).await;
            }
            sleep(self.complete_after.map_or(HOUR, every)).await;
        }
    }

    /// Whether that is all for today.
    async fn make_partitions(&mut self) -> bool {
        let mut pauses = Pauses::default();
        loop {
            let ahead = match connect(&self.rows.postgres, &self.rows.tls).await {
                Ok(session) => keep_ahead(&session, &self.rows.names).await,
                Err(error) => Err(error),
            };
            match ahead {
                Ok(ahead) => {
                    for partition in &ahead.made {
                        info!("made partition {partition}");
                    }
                    for problem in &ahead.problems {
                        warn!("{problem}");
                    }
                    return !ahead.locked;
                }
                Err(error) if !error.is_retryable() => {
                    error!("the next partitions cannot be made: {error}");
                    return true;
                }
                Err(error) => debug!("the next partitions cannot be made yet: {error}"),
            }
            sleep(pauses.next()).await;
        }
    }

    /// A pass over the table, begun again where an outage of the database ends it.
    async fn pass(&mut self, complete_after: Duration) {
        let began = Instant::now();
        let mut deleted = Deleted::default();
        let mut pauses = Pauses::default();
        loop {
            match self.delete(complete_after, &mut deleted).await {
                Ok(()) => break,
                Err(error) if !error.is_retryable() => {
                    self.tell_once(&error);
                    break;
                }
                Err(error) => debug!("a pass of retention has to begin again: {error}"),
            }
            sleep(pauses.next()).await;
        }
        if deleted.rows > 0 || !deleted.partitions.is_empty() {
            info!(
                rows = deleted.rows,
                partitions = deleted.partitions.join(","),
                seconds = began.elapsed().as_secs(),
                "deleted rows that were COMPLETE for {}",
                humantime::format_duration(complete_after)
            );
        }
    }

    async fn delete(&mut self, complete_after: Duration, deleted: &mut Deleted) -> Result<(), StoreError> {
        let rows = self.rows.clone();
        let mark = open(&rows).await?.mark(complete_after).await?;
        let retention = past(&rows, &mark).await?;
        for month in retention.expired(&mark).await? {
            let partition = month.partition(&rows.names.table);
            match retention.drop_month(month, &mark).await {
                Ok(Expired::Dropped) => deleted.partitions.push(partition.to_string()),
                Ok(Expired::Kept) if self.kept.insert(month) => info!(
                    "partition {partition} stays until all of its rows are COMPLETE for {}",
                    humantime::format_duration(complete_after)
                ),
                Ok(Expired::Kept) => {}
                Ok(Expired::Locked) => info!("{} is in use: {partition} is dropped later", rows.names.table),
                Err(error) if !error.is_retryable() => self.tell_once(&error),
                Err(error) => return Err(error),
            }
        }
        for table in retention.swept_tables().await? {
            let mut sweep = retention.sweep(&table, &mark).await?;
            loop {
                let began = Instant::now();
                let swept = sweep.batch().await?;
                deleted.rows += swept.deleted;
                if swept.last {
                    break;
                }
                sleep((began.elapsed() * PAUSE_FACTOR).max(PAUSE_MIN)).await;
            }
        }
        Ok(())
    }

    fn tell_once(&mut self, error: &StoreError) {
        let text = error.to_string();
        if !self.told.contains(&text) {
            error!("retention cannot delete: {text}");
            self.told.insert(text);
        }
    }
}

async fn open(rows: &Rows) -> Result<Retention<'_>, StoreError> {
    Retention::new(connect(&rows.postgres, &rows.tls).await?, &rows.names).await
}

/// A connection, once the slot is past the mark. While it is not, none is kept open.
async fn past<'a>(rows: &'a Rows, mark: &Mark) -> Result<Retention<'a>, StoreError> {
    let mut pause = SLOT_PAUSE_MIN;
    loop {
        let retention = open(rows).await?;
        if retention.is_past(mark).await? {
            return Ok(retention);
        }
        drop(retention);
        sleep(pause).await;
        pause = (pause * 2).min(SLOT_PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_come_often_enough_and_not_too_often() {
        let seconds = Duration::from_secs;
        assert_eq!(every(seconds(30 * 24 * 60 * 60)), HOUR);
        assert_eq!(every(seconds(60)), seconds(15));
        assert_eq!(every(Duration::ZERO), seconds(1));
    }
}
