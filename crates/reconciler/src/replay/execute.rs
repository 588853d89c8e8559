use std::sync::Arc;
use std::time::Duration;

use outbox_store::{
    Announcement, ReplayKind, ReplayProgress, ReplayRequest, ReplayRows, Selection, StoreError,
    announced_replay, finish_replay, replay_request, start_replay, unfinished_replays,
};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::account::{Account, Counted};
use super::connection::{Connection, ask};
use super::feed::{Feed, Stopped};
use super::queue::{Next, Queue};
use super::{Announced, ReplayCounts, ReplayOptions};
use crate::{Database, LifeOver, Outcome, Publisher, Work};

/// Rows that were planned and are not counted yet, at most; the pump has its own limits.
const PLANNED_MAX: usize = 8192;

/// Requests that are looked for in the table at a time.
const REQUESTS_MAX: usize = 500;

/// For noting how far a request has come once the life is over.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// Between two looks for a request that others cannot see yet.
const UNSEEN_PAUSE: Duration = Duration::from_millis(50);
const UNSEEN_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Carries requests out for one life of the relay: those that the table has unfinished, and then those that are
/// announced, one after the other. Nothing is asked of the database while there are none.
///
/// How far a request has come is noted as it goes, and always for a beginning of its rows: whoever carries it on, after
/// any end, repeats what was not noted yet and skips nothing. It never returns before the life is over (`None`), or
/// with [`ReplayOptions::alone`] before that request is finished, which it then returns as it stands, unless its
/// life is over before that.
///
/// The announcements are taken as they come, however long a request takes; the life is also over for requests to come
/// when nobody announces any more.
///
/// # Errors
///
/// Only with [`ReplayOptions::alone`]: the database refuses for good. Otherwise that is logged and the next request
/// follows.
pub async fn execute_replays(
    database: Database,
    publisher: Publisher,
    announced: mpsc::Receiver<Announced>,
    options: ReplayOptions,
    counts: Arc<ReplayCounts>,
) -> Result<Option<ReplayRequest>, StoreError> {
    let connection = Connection::new(database);
    let mut executor = Executor { connection, publisher, options, counts };
    if let Some(id) = options.alone {
        return executor.up_to(id).await;
    }
    let queue = Queue::default();
    // The one who collects never ends, and is polled whatever the other waits for.
    tokio::select! {
        biased;
        never = queue.collect(announced) => never,
        LifeOver = executor.all_of(&queue) => Ok(None),
    }
}

struct Executor {
    connection: Connection,
    publisher: Publisher,
    options: ReplayOptions,
    counts: Arc<ReplayCounts>,
}

/// How a request came to its end.
enum Ended {
    Done,
    Failed(String),
    Cancelled,
}

impl Executor {
    async fn up_to(&mut self, last: Uuid) -> Result<Option<ReplayRequest>, StoreError> {
        loop {
            let unfinished = self.unfinished().await?;
            if !unfinished.iter().any(|request| request.id == last) && unfinished.len() < REQUESTS_MAX {
                return ask!(self.connection, session => replay_request(session, last));
            }
            for request in unfinished {
                let id = request.id;
                match self.execute(request).await {
                    Ok(()) => {}
                    Err(Stopped::LifeOver) => return Ok(None),
                    Err(Stopped::Failed(error)) => return Err(error),
                }
                if id == last {
                    break;
                }
            }
        }
    }

    async fn all_of(&mut self, queue: &Queue) -> LifeOver {
        let mut next = Some(Next::Reload);
        while let Some(now) = next {
            match self.take(now, queue).await {
                Ok(()) => {}
                Err(Stopped::LifeOver) => return LifeOver,
                Err(Stopped::Failed(error)) => error!("replay: {error}"),
            }
            next = queue.next().await;
        }
        LifeOver
    }

    async fn take(&mut self, next: Next, queue: &Queue) -> Result<(), Stopped> {
        let request = match next {
            Next::Reload => {
                let unfinished = self.unfinished().await?;
                unfinished.iter().for_each(|request| queue.push(Next::Known(request.id)));
                if unfinished.len() == REQUESTS_MAX {
                    queue.push(Next::Reload);
                }
                return Ok(());
            }
            Next::Known(id) => ask!(self.connection, session => replay_request(session, id))?,
            Next::Announced(announced) => {
                self.publisher.settled(announced.lsn).await?;
                self.found(announced).await?
            }
        };
        match request {
            Some(request) if !request.state.is_finished() => self.execute(request).await,
            _ => Ok(()),
        }
    }

    async fn unfinished(&mut self) -> Result<Vec<ReplayRequest>, StoreError> {
        let slot = self.connection.database.names.slot.clone();
        ask!(self.connection, session => unfinished_replays(session, &slot, REQUESTS_MAX))
    }

    async fn found(&mut self, announced: Announced) -> Result<Option<ReplayRequest>, StoreError> {
        let Announced { id, xid, .. } = announced;
        let slot = self.connection.database.names.slot.clone();
        let mut pause = UNSEEN_PAUSE;
        loop {
            match ask!(self.connection, session => announced_replay(session, &slot, id, xid))? {
                Announcement::Request(request) => return Ok(Some(*request)),
                Announcement::OfAnotherSlot => return Ok(None),
                Announcement::NoRequest => {
                    self.counts.count_unknown();
                    warn!(%id, "the log announced a replay that was never requested; ignored");
                    return Ok(None);
                }
                Announcement::NotVisibleYet => {
                    sleep(pause).await;
                    pause = (pause * 2).min(UNSEEN_PAUSE_MAX);
                }
            }
        }
    }

    /// Carries a request out, or on, to its end. A request that fails does so on its own row, where that can be
    /// written.
    async fn execute(&mut self, request: ReplayRequest) -> Result<(), Stopped> {
        let id = request.id;
        let (ended, progress) = match request.kind {
            ReplayKind::Skip(row) => self.skip(id, row).await?,
            ReplayKind::Replay { selection, requested_us, rows_per_second } => {
                let rows = Rows { selection, requested_us, rows_per_second };
                self.replay(id, request.progress, request.rows_total, rows).await?
            }
        };
        let ReplayProgress { sent, failed, passed, .. } = progress;
        let failure = match &ended {
            Ended::Failed(reason) => Some(reason.as_str()),
            Ended::Done | Ended::Cancelled => None,
        };
        ask!(self.connection, session => finish_replay(session, id, &progress, failure))?;
        match ended {
            Ended::Done => info!(%id, sent, failed, passed, "replay done"),
            Ended::Cancelled => info!(%id, sent, failed, passed, "replay cancelled"),
            Ended::Failed(reason) => error!(%id, sent, failed, passed, "replay failed: {reason}"),
        }
        Ok(())
    }

    async fn skip(&mut self, id: Uuid, row: Uuid) -> Result<(Ended, ReplayProgress), Stopped> {
        let mut progress = ReplayProgress::default();
        if !ask!(self.connection, session => start_replay(session, id, 1))? {
            return Ok((Ended::Cancelled, progress));
        }
        let outcome = self.publisher.plan(Work::Skip { id: row }).await?;
        let ended = match outcome.await.map_err(|_| LifeOver)? {
            Outcome::Done => {
                progress.passed = 1;
                Ended::Done
            }
            Outcome::Refused(reason) => Ended::Failed(reason),
            Outcome::NothingHeld | Outcome::OnItsWay | Outcome::InLine => {
                Ended::Failed(format!("nothing is held back behind row {row}"))
            }
        };
        Ok((ended, progress))
    }

    async fn replay(
        &mut self,
        id: Uuid,
        done: ReplayProgress,
        rows_total: Option<u64>,
        rows: Rows,
    ) -> Result<(Ended, ReplayProgress), Stopped> {
        match self.start(id, rows_total, &rows).await {
            Ok(Some(rows_total)) => {
                info!(%id, rows_total, done = done.rows(), "replay begins");
            }
            Ok(None) => return Ok((Ended::Cancelled, done)),
            Err(error) => return Ok((Ended::Failed(error.to_string()), done)),
        }
        let feed = Feed {
            connection: Connection::for_pages(self.connection.database.clone()),
            publisher: self.publisher.clone(),
            request: id,
            selection: rows.selection,
            requested_us: rows.requested_us,
            rows_per_second: rows.rows_per_second,
            done,
            alone: self.options.alone.is_some(),
        };
        let (planned, mut to_count) = mpsc::channel(PLANNED_MAX);
        let mut account = Account::new(&mut self.connection, Arc::clone(&self.counts), id, done);
        let mut feeding = Some(Box::pin(feed.run(planned)));
        let mut fed = Ok(());
        let counted = {
            let counting = account.run(&mut to_count, self.options.save_every);
            tokio::pin!(counting);
            loop {
                match &mut feeding {
                    None => break counting.await,
                    Some(feed) => tokio::select! {
                        counted = &mut counting => break counted,
                        end = feed => {
                            fed = end;
                            feeding = None;
                        }
                    },
                }
            }
        };
        // What was planned and not taken yet is published nevertheless, hence counted.
        drop(feeding);
        if matches!(counted, Counted::Cancelled | Counted::Failed(_)) {
            account.drain(&mut to_count).await;
        }
        match (counted, fed) {
            (Counted::Cancelled, _) => Ok((Ended::Cancelled, account.progress)),
            (Counted::Failed(error), _) | (_, Err(Stopped::Failed(error))) => {
                Ok((Ended::Failed(error.to_string()), account.progress))
            }
            (Counted::All, Ok(())) => Ok((Ended::Done, account.progress)),
            (Counted::LifeOver, _) | (_, Err(Stopped::LifeOver)) => {
                if !matches!(timeout(FAREWELL_MAX, account.save()).await, Ok(Ok(_))) {
                    info!(%id, "how far the replay has come could not be noted; a little of it comes twice");
                }
                Err(Stopped::LifeOver)
            }
        }
    }

    /// Counts the rows, unless that has been done. `None` where the request is not wanted any more.
    async fn start(&mut self, id: Uuid, known: Option<u64>, rows: &Rows) -> Result<Option<u64>, StoreError> {
        let names = self.connection.database.names.clone();
        let rows_total = match known {
            Some(known) => known,
            None => {
                let of = ask!(self.connection, session => ReplayRows::new(session, &names, &rows.selection, rows.requested_us))?;
                ask!(self.connection, session => of.count(session))?
            }
        };
        let wanted = ask!(self.connection, session => start_replay(session, id, rows_total))?;
        Ok(wanted.then_some(rows_total))
    }
}

/// Which rows, and how fast.
struct Rows {
    selection: Selection,
    requested_us: i64,
    rows_per_second: Option<u32>,
}
