use outbox::Event;
use outbox_store::{ReplayKey, ReplayProgress, ReplayRows, RowKey, Selection, StoreError, mark_log};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::replay::connection::{Connection, ask};
use crate::replay::pace::Pace;
use crate::resend_command::{LifeOver, Origin, Outcome, Publisher, Work};

/// Keys of a page, which are small.
const PAGE_ROWS_MAX: usize = 1000;

/// Of rows that are read whole at a time. Nothing is read while they wait for the pump, so that a query, and the
/// snapshot that it holds, lasts no longer than its reading does.
const CHUNK_BYTES_MAX: u64 = 1024 * 1024;

/// A row on its way to the account.
pub(super) struct Awaited {
    pub(super) key: RowKey,
    /// What becomes of it; `None` where nothing was to be done.
    pub(super) outcome: Option<oneshot::Receiver<Outcome>>,
}

/// Why rows are not fed any more, before they are all.
pub(super) enum Stopped {
    LifeOver,
    Failed(StoreError),
}

/// What is to be fed.
pub(super) struct Feed {
    pub(super) connection: Connection,
    pub(super) publisher: Publisher,
    pub(super) request: Uuid,
    pub(super) selection: Selection,
    pub(super) requested_us: i64,
    pub(super) rows_per_second: Option<u32>,
    pub(super) done: ReplayProgress,
    /// Whether nobody else publishes.
    pub(super) alone: bool,
}

impl Feed {
    /// Plans row after row, in order, until they are all.
    pub(super) async fn run(mut self, account: mpsc::Sender<Awaited>) -> Result<(), Stopped> {
        let names = self.connection.database.names.clone();
        let (selection, requested_us) = (self.selection.clone(), self.requested_us);
        let mut rows =
            ask!(self.connection, session => ReplayRows::new(session, &names, &selection, requested_us))?;
        let mut pace = Pace::new(self.rows_per_second);
        let mut after = self.done.last;
        let mut left = self.selection.rows_max.map(|rows_max| rows_max.saturating_sub(self.done.rows()));
        loop {
            let page = page_rows(self.rows_per_second, left);
            if page == 0 {
                return Ok(());
            }
            let keys = ask!(self.connection, session => rows.keys(session, after, page))?;
            self.make_sure(&keys).await?;
            self.plan(&rows, &keys, &mut pace, &account).await?;
            if keys.len() < page {
                return Ok(());
            }
            after = keys.last().map(|key| key.row);
            left = left.map(|left| left.saturating_sub(keys.len() as u64));
        }
    }

    /// A row that says INIT may be ahead in the log, or on its way. Once everything before a mark is settled, one that
    /// was seen before the mark and still says INIT is neither.
    async fn make_sure(&mut self, keys: &[ReplayKey]) -> Result<(), Stopped> {
        if self.alone || !keys.iter().any(|key| key.is_init) {
            return Ok(());
        }
        let mark = ask!(self.connection, session => mark_log(session))?;
        Ok(self.publisher.settled(mark).await?)
    }

    async fn plan(
        &mut self,
        rows: &ReplayRows,
        keys: &[ReplayKey],
        pace: &mut Pace,
        account: &mpsc::Sender<Awaited>,
    ) -> Result<(), Stopped> {
        let mut rest = keys;
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(chunk_rows(rest));
            rest = later;
            let ids: Vec<Uuid> = chunk.iter().map(|key| key.row.id).collect();
            let read = ask!(self.connection, session => rows.read(session, &ids))?;
            let mut read = read.into_iter().peekable();
            for (index, key) in chunk.iter().enumerate() {
                // A row that is not there is gone.
                let row = read.next_if(|row| row.index == index).filter(|row| !row.is_passed);
                let outcome = match row {
                    Some(row) => {
                        pace.turn().await;
                        Some(self.send(row.row.event).await?)
                    }
                    None => None,
                };
                // Nobody counts any more only where nobody is to go on either.
                account.send(Awaited { key: key.row, outcome }).await.map_err(|_| LifeOver)?;
            }
        }
        Ok(())
    }

    async fn send(&self, event: Event) -> Result<oneshot::Receiver<Outcome>, LifeOver> {
        self.publisher.plan(Work::Send { event, origin: Origin::Request(self.request) }).await
    }
}

/// A page lasts two seconds or less, so that what is found on it is not old when its turn comes.
fn page_rows(rows_per_second: Option<u32>, left: Option<u64>) -> usize {
    let paced = rows_per_second.map_or(PAGE_ROWS_MAX, |rows| (rows as usize).saturating_mul(2));
    let left = left.map_or(PAGE_ROWS_MAX, |left| usize::try_from(left).unwrap_or(PAGE_ROWS_MAX));
    paced.min(left).min(PAGE_ROWS_MAX)
}

/// How many of the rows are read next: one, and as many more as there is room for.
fn chunk_rows(keys: &[ReplayKey]) -> usize {
    let mut bytes = 0;
    let fits = |key: &&ReplayKey| {
        bytes += key.payload_bytes;
        bytes <= CHUNK_BYTES_MAX
    };
    keys.iter().take_while(fits).count().clamp(1, keys.len().max(1))
}

impl From<LifeOver> for Stopped {
    fn from(_: LifeOver) -> Self {
        Stopped::LifeOver
    }
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Stopped::Failed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_two_seconds_at_most_and_never_more_than_is_left() {
        assert_eq!(page_rows(None, None), PAGE_ROWS_MAX);
        assert_eq!(page_rows(Some(10), None), 20);
        assert_eq!(page_rows(Some(u32::MAX), None), PAGE_ROWS_MAX);
        assert_eq!(page_rows(Some(10), Some(3)), 3);
        assert_eq!(page_rows(None, Some(0)), 0);
    }

    #[test]
    fn rows_are_read_by_their_size_and_a_large_one_alone() {
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
