//! Rows that say INIT for too long.

use std::collections::HashMap;
use std::time::Duration;

use outbox::{CreatedRange, Status};
use outbox_store::{StuckRow, Suspects, mark_log};
use uuid::Uuid;

use crate::deadlines::schedule::Kind;
use crate::resend_command::{Origin, Work};
use crate::stuck::round::{FULL_ROWS_MAX, PAGE_ROWS_MAX, Remaining, Round};
use crate::stuck::round_error::Trouble;
use crate::stuck::round_summary::Plan;

impl<B> Round<'_, B> {
    /// Plans the rows created in this range that say INIT and that the log does not bring any more.
    pub(super) async fn init_rows(&mut self, created: CreatedRange) -> Result<Remaining, Trouble> {
        let of = Suspects { status: Status::Init, created, attempted: None, waited_us: None };
        let stuck_rows = self.stuck_rows().await?;
        let mut pages = stuck_rows.pages(&of, None, PAGE_ROWS_MAX);
        loop {
            let session = self.session().await?;
            let Some(page) = pages.next(&session).await? else { return Ok(Remaining::default()) };
            // A row may still be ahead in the log, or on its way: the log has brought all of these before the mark.
            let mark = mark_log(&session).await?;
            drop(session);
            let publisher = self.of.publisher.clone();
            self.patiently(async move { publisher.settled(mark).await }).await?;
            let ids: Vec<Uuid> = page.rows.iter().map(|row| row.id).collect();
            let session = self.session().await?;
            let still = stuck_rows.still_init(&session, &ids).await?;
            drop(session);
            let mut stuck = Vec::new();
            for row in page.rows.into_iter().filter(|row| still.contains(&row.id)) {
                match self.time_left(&row, page.now_us) {
                    Some(left) => {
                        self.said.later += 1;
                        self.of.account.found(Kind::Init, left, CreatedRange::of(row.created_at_us), 1);
                    }
                    None => stuck.push(row.id),
                }
            }
            for ids in stuck.chunks(FULL_ROWS_MAX) {
                self.send_init(ids).await?;
            }
        }
    }

    /// Nobody has counted since when rows wait that earlier lives have left, so it is since they were created.
    fn time_left(&self, row: &StuckRow, now_us: i64) -> Option<Duration> {
        let created_at_us = row.created_at_us.filter(|_| self.is_start)?;
        let waited = Duration::from_micros(u64::try_from(now_us.saturating_sub(created_at_us)).unwrap_or(0));
        let left = self.of.options.init_after.saturating_sub(waited);
        (!left.is_zero()).then_some(left)
    }

    async fn send_init(&mut self, ids: &[Uuid]) -> Result<(), Trouble> {
        let event_rows = self.event_rows().await?;
        let session = self.session().await?;
        let rows = event_rows.by_ids(&session, &self.of.database.names, ids).await?;
        drop(session);
        let mut by_id: HashMap<Uuid, _> = rows.into_iter().map(|row| (row.event.id, row)).collect();
        let rows = ids.iter().filter_map(|id| by_id.remove(id));
        let works = rows
            .filter(|row| row.status == Some(Status::Init))
            .map(|row| {
                let id = row.event.id;
                (id, Plan::Send, Work::Send { event: row.event, origin: Origin::Reconciler })
            })
            .collect();
        self.plan(works).await
    }
}
