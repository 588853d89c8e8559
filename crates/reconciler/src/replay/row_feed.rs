use outbox::Event;
use outbox_store::{
    ReplayKey, ReplayProgress, ReplayRows, RowKey, Selection, drop_event_without_row, events_without_row,
    mark_log,
};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::replay::connection::{ReplayConnection, retry};
use crate::replay::rate_limiter::RateLimiter;
use crate::replay::replay_error::ReplayError;
use crate::resend_command::{ResendCause, ResendCommand, ResendOutcome, ResendQueue, SessionClosed};

/// Keys per page; keys are small.
const PAGE_ROWS_MAX: usize = 1000;

/// Payload bytes of the rows that are read together. Nothing is read while they wait for the main loop, so a query and
/// its snapshot last no longer than reading them takes.
const CHUNK_BYTES_MAX: u64 = 1024 * 1024;

/// A row on its way from the feed to the progress tracker.
pub(super) struct SubmittedRow {
    pub(super) key: RowKey,
    /// `None` if the row needed nothing.
    pub(super) outcome: Option<oneshot::Receiver<ResendOutcome>>,
}

/// Reads the rows of one request and submits them in their order.
pub(super) struct RowFeed {
    pub(super) connection: ReplayConnection,
    pub(super) resends: ResendQueue,
    pub(super) request: Uuid,
    pub(super) selection: Selection,
    pub(super) requested_us: i64,
    pub(super) rows_per_second: Option<u32>,
    pub(super) progress: ReplayProgress,
    /// Whether the WAL is not read.
    pub(super) is_standalone: bool,
}

impl RowFeed {
    /// Submits row after row until the selection is exhausted.
    ///
    /// # Errors
    ///
    /// The session closed, or the database rejects a query.
    pub(super) async fn run(mut self, tracker: mpsc::Sender<SubmittedRow>) -> Result<(), ReplayError> {
        let names = self.connection.database.names.clone();
        let (selection, requested_us) = (self.selection.clone(), self.requested_us);
        let mut rows =
            retry!(self.connection, session => ReplayRows::new(session, &names, &selection, requested_us))?;
        let mut limiter = RateLimiter::new(self.rows_per_second);
        let mut after = self.progress.last;
        let mut left = self.selection.rows_max.map(|rows_max| rows_max.saturating_sub(self.progress.rows()));
        loop {
            let page = page_rows(self.rows_per_second, left);
            if page == 0 {
                return Ok(());
            }
            let keys = retry!(self.connection, session => rows.keys(session, after, page))?;
            self.wait_for_the_wal(&keys).await?;
            self.submit(&rows, &keys, &mut limiter, &tracker).await?;
            after = keys.last().map(|key| key.row).or(after);
            if keys.len() < page {
                return self.submit_without_row(after, &tracker).await;
            }
            left = left.map(|left| left.saturating_sub(keys.len() as u64));
        }
    }

    /// An INIT row may be ahead in the WAL, or in flight. Once everything before a mark is settled, a row that was
    /// visible before the mark and is INIT still is neither.
    async fn wait_for_the_wal(&mut self, keys: &[ReplayKey]) -> Result<(), ReplayError> {
        if self.is_standalone || !keys.iter().any(|key| key.is_init) {
            return Ok(());
        }
        let mark = retry!(self.connection, session => mark_log(session))?;
        Ok(self.resends.settled(mark).await?)
    }

    async fn submit(
        &mut self,
        rows: &ReplayRows,
        keys: &[ReplayKey],
        limiter: &mut RateLimiter,
        tracker: &mpsc::Sender<SubmittedRow>,
    ) -> Result<(), ReplayError> {
        let mut rest = keys;
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(chunk_rows(rest));
            rest = later;
            let ids: Vec<Uuid> = chunk.iter().map(|key| key.row.id).collect();
            let read = retry!(self.connection, session => rows.read(session, &ids))?;
            let mut read = read.into_iter().peekable();
            for (index, key) in chunk.iter().enumerate() {
                // A row that was deleted is missing from what was read.
                let row = read.next_if(|row| row.index == index).filter(|row| !row.is_passed);
                let outcome = match row {
                    Some(row) => {
                        limiter.wait().await;
                        Some(self.send(row.row.event).await?)
                    }
                    None => None,
                };
                // The tracker ends before the feed only when the replay ends.
                tracker.send(SubmittedRow { key: key.row, outcome }).await.map_err(|_| SessionClosed)?;
            }
        }
        Ok(())
    }

    /// Submits the requested events whose rows were deleted. What was published needs no entry in `postrider.held`.
    async fn submit_without_row(
        &mut self,
        last: Option<RowKey>,
        tracker: &mpsc::Sender<SubmittedRow>,
    ) -> Result<(), ReplayError> {
        if self.selection.ids.is_empty() {
            return Ok(());
        }
        let (names, ids) = (self.connection.database.names.clone(), self.selection.ids.clone());
        let events = retry!(self.connection, session => events_without_row(session, &names, &ids))?;
        for event in events {
            let id = event.id;
            let key = last.unwrap_or(RowKey { created_at_us: event.created_at_us, id });
            let sent = self.send(event).await?.await.map_err(|_| SessionClosed)?;
            if sent == ResendOutcome::Done {
                retry!(self.connection, session => drop_event_without_row(session, &names, id))?;
            }
            let (report, outcome) = oneshot::channel();
            let _ = report.send(sent);
            tracker.send(SubmittedRow { key, outcome: Some(outcome) }).await.map_err(|_| SessionClosed)?;
        }
        Ok(())
    }

    async fn send(&self, event: Event) -> Result<oneshot::Receiver<ResendOutcome>, SessionClosed> {
        self.resends.submit(ResendCommand::Resend { event, cause: ResendCause::Replay(self.request) }).await
    }
}

/// A page takes at most two seconds, so that its rows are not stale when they are sent.
fn page_rows(rows_per_second: Option<u32>, left: Option<u64>) -> usize {
    let paced = rows_per_second.map_or(PAGE_ROWS_MAX, |rows| (rows as usize).saturating_mul(2));
    let left = left.map_or(PAGE_ROWS_MAX, |left| usize::try_from(left).unwrap_or(PAGE_ROWS_MAX));
    paced.min(left).min(PAGE_ROWS_MAX)
}

/// How many rows are read next: as many as fit into a chunk, and at least one.
fn chunk_rows(keys: &[ReplayKey]) -> usize {
    let mut bytes = 0;
    let fits = |key: &&ReplayKey| {
        bytes += key.payload_bytes;
        bytes <= CHUNK_BYTES_MAX
    };
    keys.iter().take_while(fits).count().clamp(1, keys.len().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_rows_is_two_seconds_of_the_rate_and_at_most_the_rows_left() {
        assert_eq!(page_rows(None, None), PAGE_ROWS_MAX);
        assert_eq!(page_rows(Some(10), None), 20);
        assert_eq!(page_rows(Some(u32::MAX), None), PAGE_ROWS_MAX);
        assert_eq!(page_rows(Some(10), Some(3)), 3);
        assert_eq!(page_rows(None, Some(0)), 0);
    }

    #[test]
    fn chunk_rows_fills_a_chunk_by_payload_size_and_reads_a_large_row_alone() {
        let key = |payload_bytes| ReplayKey {
            row: RowKey { created_at_us: None, id: Uuid::nil() },
            is_init: false,
            payload_bytes,
        };
        assert_eq!(chunk_rows(&[key(100); 1000]), 1000);
        assert_eq!(chunk_rows(&[key(CHUNK_BYTES_MAX / 4); 1000]), 4);
        assert_eq!(chunk_rows(&[key(5 * CHUNK_BYTES_MAX), key(1)]), 1);
    }
}
