use std::time::Duration;

use outbox_store::{
    ReplayKind, ReplayProgress, ReplayRequest, ReplayRows, ReplayState, Selection, StoreError,
    are_transactions_visible, drop_event_without_key, finish_replay, replay_request, start_replay,
    unfinished_replays,
};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, info};
use uuid::Uuid;

use crate::replay::connection::{ReplayConnection, retry};
use crate::replay::notice::{CoalescedNotices, ReplayNotice};
use crate::replay::notice_queue::{NextNotice, ReplayNotices};
use crate::replay::options::ReplayOptions;
use crate::replay::progress_tracker::{ReplayProgressTracker, TrackingEnd};
use crate::replay::replay_error::ReplayError;
use crate::replay::row_feed::RowFeed;
use crate::resend_command::{ResendCommand, ResendOutcome, ResendQueue, SessionClosed};
use outbox_store::Database;

/// Rows submitted and not counted yet. The main loop has limits of its own.
const UNCOUNTED_MAX: usize = 8192;

/// Requests read from the table at a time.
const REQUESTS_MAX: usize = 500;

/// Timeout for saving the progress once the session has closed.
const LAST_SAVE_TIMEOUT: Duration = Duration::from_secs(1);

// A commit waits between its WAL record and its visibility for a synchronous standby: usually milliseconds, hours
// while that is down.
const VISIBILITY_PAUSE_MIN: Duration = Duration::from_millis(10);
const VISIBILITY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Executes replay requests for one session of the relay, one after the other: first the unfinished ones of the table,
/// then those read from the WAL, in commit order. Without requests it runs no query.
///
/// The progress of a request is saved as it goes, always as a prefix of its rows: the next session repeats the rows
/// since the last save and skips none. Returns `None` when the session closes.
///
/// With [`ReplayOptions::standalone`] it ignores `notices` and returns that request once it is finished.
///
/// # Errors
///
/// Only with [`ReplayOptions::standalone`], if the database rejects a query. Otherwise that fails the one request.
pub async fn execute_replays(
    database: Database,
    resends: ResendQueue,
    notices: ReplayNotices,
    options: ReplayOptions,
) -> Result<Option<ReplayRequest>, StoreError> {
    let connection = ReplayConnection::new(database);
    let mut executor = Executor { connection, resends, options };
    match options.standalone {
        Some(id) => executor.execute_up_to(id).await,
        None => {
            let SessionClosed = executor.execute_all(notices).await;
            Ok(None)
        }
    }
}

struct Executor {
    connection: ReplayConnection,
    resends: ResendQueue,
    options: ReplayOptions,
}

/// How a request ended.
enum RequestEnd {
    Done,
    Failed(String),
    Cancelled,
}

impl Executor {
    async fn execute_up_to(&mut self, last: Uuid) -> Result<Option<ReplayRequest>, StoreError> {
        loop {
            let unfinished = self.unfinished().await?;
            if !unfinished.iter().any(|request| request.id == last) && unfinished.len() < REQUESTS_MAX {
                return retry!(self.connection, session => replay_request(session, last));
            }
            for request in unfinished {
                let id = request.id;
                match self.execute(request).await {
                    Ok(()) => {}
                    Err(ReplayError::SessionClosed) => return Ok(None),
                    Err(ReplayError::Store(error)) => return Err(error),
                }
                if id == last {
                    break;
                }
            }
        }
    }

    async fn execute_all(&mut self, mut notices: ReplayNotices) -> SessionClosed {
        let mut result = self.execute_unfinished().await;
        loop {
            match result {
                Ok(()) => {}
                Err(ReplayError::SessionClosed) => return SessionClosed,
                Err(ReplayError::Store(error)) => error!(%error, "could not read the replay requests"),
            }
            result = match notices.next().await {
                Some(NextNotice::Request(notice)) => self.execute_noticed(notice).await,
                Some(NextNotice::Overflow(notices)) => self.execute_overflow(notices).await,
                None => return SessionClosed,
            };
        }
    }

    async fn execute_noticed(&mut self, notice: ReplayNotice) -> Result<(), ReplayError> {
        let ReplayNotice { id, xid, commit_lsn } = notice;
        self.wait_until_visible(xid, xid).await?;
        self.resends.settled(commit_lsn).await?;
        self.execute_if_unfinished(id).await
    }

    async fn execute_overflow(&mut self, notices: CoalescedNotices) -> Result<(), ReplayError> {
        self.wait_until_visible(notices.first_xid, notices.last_xid).await?;
        self.resends.settled(notices.commit_lsn).await?;
        self.execute_unfinished().await
    }

    async fn execute_unfinished(&mut self) -> Result<(), ReplayError> {
        let mut first_of_page = None;
        loop {
            let requests = self.unfinished().await?;
            for request in &requests {
                self.execute_if_unfinished(request.id).await?;
            }
            // A page comes again if its requests can be neither executed nor marked as failed.
            let first = requests.first().map(|request| request.id);
            if requests.len() < REQUESTS_MAX || first == first_of_page {
                return Ok(());
            }
            first_of_page = first;
        }
    }

    /// The WAL contains a commit before other sessions see it.
    async fn wait_until_visible(&mut self, first_xid: u32, last_xid: u32) -> Result<(), ReplayError> {
        let mut pause = VISIBILITY_PAUSE_MIN;
        while !retry!(self.connection, session => are_transactions_visible(session, first_xid, last_xid))? {
            tokio::select! {
                () = sleep(pause) => {}
                () = self.resends.closed() => return Err(ReplayError::SessionClosed),
            }
            pause = (pause * 2).min(VISIBILITY_PAUSE_MAX);
        }
        Ok(())
    }

    async fn unfinished(&mut self) -> Result<Vec<ReplayRequest>, StoreError> {
        let slot = self.connection.database.names.slot.clone();
        retry!(self.connection, session => unfinished_replays(session, &slot, REQUESTS_MAX))
    }

    /// The WAL may bring a request again that is finished, cancelled, or deleted since.
    async fn execute_if_unfinished(&mut self, id: Uuid) -> Result<(), ReplayError> {
        let execution = async {
            match retry!(self.connection, session => replay_request(session, id))? {
                Some(request) if !request.state.is_finished() => self.execute(request).await,
                Some(_) => Ok(()),
                None => {
                    debug!(%id, "the replay request was deleted");
                    Ok(())
                }
            }
        };
        match execution.await {
            Err(ReplayError::Store(error)) => {
                error!(%id, %error, "replay stopped; it is resumed at the next start of the relay");
                Ok(())
            }
            result => result,
        }
    }

    /// Executes or resumes a request. A failure is recorded in its row.
    async fn execute(&mut self, request: ReplayRequest) -> Result<(), ReplayError> {
        let id = request.id;
        let (end, progress) = match request.kind {
            ReplayKind::Skip(row) => self.skip(id, row, request.state == ReplayState::Running).await?,
            ReplayKind::Replay { selection, requested_us, rows_per_second } => {
                let rows = SelectedRows { selection, requested_us, rows_per_second };
                self.replay(id, request.progress, request.rows_total, rows).await?
            }
        };
        let ReplayProgress { sent, failed, passed, .. } = progress;
        let failure = match &end {
            RequestEnd::Failed(reason) => Some(reason.as_str()),
            RequestEnd::Done | RequestEnd::Cancelled => None,
        };
        retry!(self.connection, session => finish_replay(session, id, &progress, failure))?;
        match end {
            RequestEnd::Done => info!(%id, sent, failed, passed, "replay done"),
            RequestEnd::Cancelled => info!(%id, sent, failed, passed, "replay cancelled"),
            RequestEnd::Failed(reason) => error!(%id, sent, failed, passed, reason, "replay failed"),
        }
        Ok(())
    }

    /// A skip that was running before may have released the rows already: then nothing is held any more.
    async fn skip(
        &mut self,
        id: Uuid,
        row: Uuid,
        was_running: bool,
    ) -> Result<(RequestEnd, ReplayProgress), ReplayError> {
        let mut progress = ReplayProgress::default();
        if !retry!(self.connection, session => start_replay(session, id, 1))? {
            return Ok((RequestEnd::Cancelled, progress));
        }
        let outcome = self.resends.submit(ResendCommand::Skip { id: row }).await?;
        let mut outcome = outcome.await.map_err(|_| SessionClosed)?;
        let names = self.connection.database.names.clone();
        if outcome == ResendOutcome::NothingHeld
            && retry!(self.connection, session => drop_event_without_key(session, &names, row))?
        {
            outcome = ResendOutcome::Done;
        }
        let end = match outcome {
            outcome
                if outcome == ResendOutcome::Done || was_running && outcome == ResendOutcome::NothingHeld =>
            {
                progress.passed = 1;
                RequestEnd::Done
            }
            ResendOutcome::Failed(reason) => RequestEnd::Failed(reason),
            ResendOutcome::Done
            | ResendOutcome::NothingHeld
            | ResendOutcome::AlreadyInFlight
            | ResendOutcome::Held => RequestEnd::Failed(format!("no rows are held behind row {row}")),
        };
        Ok((end, progress))
    }

    async fn replay(
        &mut self,
        id: Uuid,
        progress: ReplayProgress,
        rows_total: Option<u64>,
        rows: SelectedRows,
    ) -> Result<(RequestEnd, ReplayProgress), ReplayError> {
        match self.start(id, rows_total, &rows).await {
            Ok(Some(rows_total)) => info!(%id, rows_total, finished = progress.rows(), "replay started"),
            Ok(None) => return Ok((RequestEnd::Cancelled, progress)),
            Err(error) => return Ok((RequestEnd::Failed(error.to_string()), progress)),
        }
        let feed = RowFeed {
            connection: ReplayConnection::for_pages(self.connection.database.clone()),
            resends: self.resends.clone(),
            request: id,
            selection: rows.selection,
            requested_us: rows.requested_us,
            rows_per_second: rows.rows_per_second,
            progress,
            is_standalone: self.options.standalone.is_some(),
        };
        let (to_tracker, mut submitted) = mpsc::channel(UNCOUNTED_MAX);
        let mut tracker = ReplayProgressTracker::new(&mut self.connection, id, progress);
        let mut feeding = Some(Box::pin(feed.run(to_tracker)));
        let mut fed = Ok(());
        let tracked = {
            let tracking = tracker.run(&mut submitted, self.options.save_every);
            tokio::pin!(tracking);
            loop {
                match &mut feeding {
                    None => break tracking.await,
                    Some(feed) => tokio::select! {
                        tracked = &mut tracking => break tracked,
                        result = feed => {
                            fed = result;
                            feeding = None;
                        }
                    },
                }
            }
        };
        drop(feeding);
        // Rows that were submitted are published even so, and have to be counted.
        if matches!(tracked, TrackingEnd::Cancelled | TrackingEnd::Failed(_)) {
            tracker.drain(&mut submitted).await;
        }
        match (tracked, fed) {
            (TrackingEnd::Cancelled, _) => Ok((RequestEnd::Cancelled, tracker.progress)),
            (TrackingEnd::Failed(error), _) | (_, Err(ReplayError::Store(error))) => {
                Ok((RequestEnd::Failed(error.to_string()), tracker.progress))
            }
            (TrackingEnd::Complete, Ok(())) => Ok((RequestEnd::Done, tracker.progress)),
            (TrackingEnd::SessionClosed, _) | (_, Err(ReplayError::SessionClosed)) => {
                if !matches!(timeout(LAST_SAVE_TIMEOUT, tracker.save()).await, Ok(Ok(_))) {
                    info!(%id, "could not save replay progress; some rows may be sent twice");
                }
                Err(ReplayError::SessionClosed)
            }
        }
    }

    /// Counts the rows of a request unless they were counted before. `None` if it was cancelled.
    async fn start(
        &mut self,
        id: Uuid,
        rows_total: Option<u64>,
        selected: &SelectedRows,
    ) -> Result<Option<u64>, StoreError> {
        let names = self.connection.database.names.clone();
        let rows_total = match rows_total {
            Some(rows_total) => rows_total,
            None => {
                let SelectedRows { selection, requested_us, .. } = selected;
                let rows = retry!(self.connection, session => ReplayRows::new(session, &names, selection, *requested_us))?;
                retry!(self.connection, session => rows.count(session))?
            }
        };
        let is_wanted = retry!(self.connection, session => start_replay(session, id, rows_total))?;
        Ok(is_wanted.then_some(rows_total))
    }
}

struct SelectedRows {
    selection: Selection,
    requested_us: i64,
    rows_per_second: Option<u32>,
}
