//! Deletes old COMPLETE rows, and creates and drops monthly partitions.

use std::collections::BTreeSet;
use std::time::Duration;

use outbox::LogThrottle;
use outbox_store::{Backoff, Database, Expired, Mark, Month, Retention, StoreError, keep_ahead};
use tokio::time::{Instant, sleep};
use tracing::{debug, error, info, warn};

/// The retention task; `None` if there is nothing to delete and no partition to create. It never ends by itself, and its
/// errors do not end the session.
pub(crate) fn run_retention(
    database: Database,
    complete_after: Option<Duration>,
    partitioned: bool,
) -> Option<impl Future<Output = ()> + Send + 'static> {
    let task = RetentionTask {
        database,
        complete_after,
        partitioned,
        kept: BTreeSet::new(),
        errors: LogThrottle::new(HOUR),
    };
    (complete_after.is_some() || partitioned).then(|| task.run())
}

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A batch is followed by a pause of this many times its own duration, so that retention takes at most a fifth of the
/// time and less when the server is slow.
const PAUSE_FACTOR: u32 = 4;
const PAUSE_MIN: Duration = Duration::from_millis(10);

// A slot's restart_lsn moves about every 15 s, when the server logs the running transactions, and not at all while one of
// them is older than the mark.
const SLOT_PAUSE_MIN: Duration = Duration::from_secs(1);
const SLOT_PAUSE_MAX: Duration = Duration::from_secs(60);

/// The interval between two passes.
fn pass_interval(complete_after: Duration) -> Duration {
    (complete_after / 4).clamp(Duration::from_secs(1), HOUR)
}

struct RetentionTask {
    database: Database,
    complete_after: Option<Duration>,
    partitioned: bool,
    /// Months that were logged as kept.
    kept: BTreeSet<Month>,
    errors: LogThrottle,
}

/// What a pass deleted.
#[derive(Default)]
struct Deleted {
    rows: u64,
    partitions: Vec<String>,
}

impl RetentionTask {
    async fn run(mut self) {
        let mut ahead_at = Instant::now();
        loop {
            if self.partitioned && Instant::now() >= ahead_at {
                let done = self.make_partitions().await;
                ahead_at = Instant::now() + if done { DAY } else { HOUR };
            }
            if let Some(complete_after) = self.complete_after {
                self.pass(complete_after).await;
            }
            sleep(self.complete_after.map_or(HOUR, pass_interval)).await;
        }
    }

    /// Creates the partitions of the coming months. Returns whether that is done for today.
    async fn make_partitions(&mut self) -> bool {
        let mut backoff = Backoff::default();
        loop {
            let ahead = match self.database.connect().await {
                Ok(session) => keep_ahead(&session, &self.database.names).await,
                Err(error) => Err(error),
            };
            match ahead {
                Ok(ahead) => {
                    for partition in &ahead.made {
                        info!(%partition, "partition created");
                    }
                    for problem in &ahead.problems {
                        warn!("{problem}");
                    }
                    return !ahead.locked;
                }
                Err(error) if !error.is_retryable() => {
                    error!(%error, "could not create partitions");
                    return true;
                }
                Err(error) => debug!(%error, "could not create partitions; retrying"),
            }
            sleep(backoff.next_delay()).await;
        }
    }

    /// One pass over the table, restarted after an outage.
    async fn pass(&mut self, complete_after: Duration) {
        let began = Instant::now();
        let mut deleted = Deleted::default();
        let mut backoff = Backoff::default();
        loop {
            match self.delete(complete_after, &mut deleted).await {
                Ok(()) => break,
                Err(error) if !error.is_retryable() => {
                    self.log(&error);
                    break;
                }
                Err(error) => debug!(%error, "retention pass interrupted; starting it again"),
            }
            sleep(backoff.next_delay()).await;
        }
        if deleted.rows > 0 || !deleted.partitions.is_empty() {
            info!(
                rows = deleted.rows,
                partitions = deleted.partitions.join(","),
                duration_s = began.elapsed().as_secs(),
                complete_after = %humantime::format_duration(complete_after),
                "retention deleted COMPLETE rows"
            );
        }
    }

    async fn delete(&mut self, complete_after: Duration, deleted: &mut Deleted) -> Result<(), StoreError> {
        let database = self.database.clone();
        let mark = open(&database).await?.mark(complete_after).await?;
        let retention = wait_past(&database, &mark).await?;
        for month in retention.expired(&mark).await? {
            let partition = month.partition(&database.names.table);
            match retention.drop_month(month, &mark).await {
                Ok(Expired::Dropped) => deleted.partitions.push(partition.to_string()),
                Ok(Expired::Kept) if self.kept.insert(month) => info!(
                    %partition,
                    complete_after = %humantime::format_duration(complete_after),
                    "partition kept: not all of its rows are COMPLETE for that long"
                ),
                Ok(Expired::Kept) => {}
                Ok(Expired::Locked) => info!(%partition, "table in use; partition is dropped later"),
                Err(error) if !error.is_retryable() => self.log(&error),
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

    fn log(&mut self, error: &StoreError) {
        if let Some(suppressed) = self.errors.allow(std::time::Instant::now()) {
            error!(%error, suppressed, "retention could not delete");
        }
    }
}

async fn open(database: &Database) -> Result<Retention<'_>, StoreError> {
    Retention::new(database.connect().await?, &database.names).await
}

/// A connection, once the slot is past the mark. No connection is kept open before.
async fn wait_past<'a>(database: &'a Database, mark: &Mark) -> Result<Retention<'a>, StoreError> {
    let mut pause = SLOT_PAUSE_MIN;
    loop {
        let retention = open(database).await?;
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
    fn pass_interval_is_bounded() {
        let seconds = Duration::from_secs;
        assert_eq!(pass_interval(seconds(30 * 24 * 60 * 60)), HOUR);
        assert_eq!(pass_interval(seconds(60)), seconds(15));
        assert_eq!(pass_interval(Duration::ZERO), seconds(1));
    }
}
