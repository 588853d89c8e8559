use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use outbox_store::{
    Announcement, ReplayKind, ReplayProgress, ReplayRequest, ReplayRows, ReplayState, Selection, StoreError,
    announced_replays, are_visible, finish_replay, replay_request, start_replay, unfinished_replays,
};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::database::Database;
use crate::replay::connection::{Connection, ask};
use crate::replay::counts::ReplayCounts;
use crate::replay::notice::{Announced, Missed, Told};
use crate::replay::notice_queue::Queue;
use crate::replay::options::ReplayOptions;
use crate::replay::pending_notices::Unfound;
use crate::replay::progress_tracker::{Account, Counted};
use crate::replay::row_feed::{Feed, Stopped};
use crate::resend_command::{LifeOver, Outcome, Publisher, Work};

/// Rows that were planned and are not counted yet, at most; the pump has its own limits.
const PLANNED_MAX: usize = 8192;

/// Requests that are looked for in the table at a time.
const REQUESTS_MAX: usize = 500;

/// For noting how far a request has come once the life is over.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

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
        let mut unfound = Unfound::from_before();
        loop {
            match self.look_for(&mut unfound).await {
                Ok(()) => {}
                Err(Stopped::LifeOver) => return LifeOver,
                Err(Stopped::Failed(error)) => error!("replay: {error}"),
            }
            unfound.looked();
            let Some(news) = queue.next(unfound.due()).await else { return LifeOver };
            unfound.add(news);
            if let Some(allowed) = unfound.allowed() {
                sleep_until(allowed).await;
            }
        }
    }

    /// Looks for what was announced, and carries out what there is of it. One look is for all, so that messages that
    /// announce nothing cost little, however many there are.
    async fn look_for(&mut self, unfound: &mut Unfound) -> Result<(), Stopped> {
        let (told, missed) = unfound.take();
        let found = match told.is_empty() {
            true => Vec::new(),
            false => self.found(told, unfound).await?,
        };
        for Told { id, lsn, .. } in found {
            self.publisher.settled(lsn).await?;
            self.carry_out(id).await?;
        }
        if let Some(missed) = missed {
            self.publisher.settled(missed.lsn).await?;
            self.search(missed, unfound).await?;
        }
        Ok(())
    }

    /// Those that there are to be carried out, in their order, each once.
    async fn found(&mut self, told: Vec<Told>, unfound: &mut Unfound) -> Result<Vec<Told>, StoreError> {
        let slot = self.connection.database.names.slot.clone();
        let announced: Vec<_> = told.iter().map(|told| (told.id, told.xid)).collect();
        let announcements = ask!(self.connection, session => announced_replays(session, &slot, &announced))?;
        let mut ids = HashSet::new();
        let mut found = Vec::new();
        for (told, announcement) in told.into_iter().zip(announcements) {
            match announcement {
                Announcement::Request(request) => {
                    if !request.state.is_finished() && ids.insert(told.id) {
                        found.push(told);
                    }
                }
                Announcement::OfAnotherSlot => {}
                Announcement::NoRequest => self.unknown(told.id),
                Announcement::NotVisibleYet => unfound.again(Announced::Request(told)),
            }
        }
        Ok(found)
    }

    fn unknown(&self, id: Uuid) {
        if let Some(messages) = self.counts.count_unknown() {
            warn!(messages, last = %id, "the log announced replays that were never requested; ignored");
        }
    }

    /// Looks for all that there is to be carried out.
    async fn search(&mut self, missed: Missed, unfound: &mut Unfound) -> Result<(), Stopped> {
        // Before the look, which then finds what they have made.
        let are_seen = match missed.xids {
            None => true,
            Some((first, last)) => ask!(self.connection, session => are_visible(session, first, last))?,
        };
        let requests = self.unfinished().await?;
        if !are_seen || requests.len() == REQUESTS_MAX {
            unfound.again(Announced::Missed(missed));
        }
        for request in requests {
            self.carry_out(request.id).await?;
        }
        Ok(())
    }

    /// Carries a request out if that is still wanted. That it cannot be is told.
    async fn carry_out(&mut self, id: Uuid) -> Result<(), LifeOver> {
        let carried_out = async {
            match ask!(self.connection, session => replay_request(session, id))? {
                Some(request) if !request.state.is_finished() => self.execute(request).await,
                _ => Ok(()),
            }
        };
        match carried_out.await {
            Ok(()) => Ok(()),
            Err(Stopped::LifeOver) => Err(LifeOver),
            Err(Stopped::Failed(error)) => {
                error!(%id, "replay: {error}");
                Ok(())
            }
        }
    }

    async fn unfinished(&mut self) -> Result<Vec<ReplayRequest>, StoreError> {
        let slot = self.connection.database.names.slot.clone();
        ask!(self.connection, session => unfinished_replays(session, &slot, REQUESTS_MAX))
    }

    /// Carries a request out, or on, to its end. A request that fails does so on its own row, where that can be
    /// written.
    async fn execute(&mut self, request: ReplayRequest) -> Result<(), Stopped> {
        let id = request.id;
        let (ended, progress) = match request.kind {
            ReplayKind::Skip(row) => self.skip(id, row, request.state == ReplayState::Running).await?,
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

    /// One that was `begun` before may have been carried out: then nothing is held any more.
    async fn skip(&mut self, id: Uuid, row: Uuid, begun: bool) -> Result<(Ended, ReplayProgress), Stopped> {
        let mut progress = ReplayProgress::default();
        if !ask!(self.connection, session => start_replay(session, id, 1))? {
            return Ok((Ended::Cancelled, progress));
        }
        let outcome = self.publisher.plan(Work::Skip { id: row }).await?;
        let ended = match outcome.await.map_err(|_| LifeOver)? {
            outcome if outcome == Outcome::Done || begun && outcome == Outcome::NothingHeld => {
                progress.passed = 1;
                Ended::Done
            }
            Outcome::Refused(reason) => Ended::Failed(reason),
            Outcome::Done | Outcome::NothingHeld | Outcome::OnItsWay | Outcome::InLine => {
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
