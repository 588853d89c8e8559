use std::collections::HashMap;
use std::time::Duration;

use outbox::{CreatedRange, Status};
use outbox_store::{StuckRow, StuckRowFilter, mark_log};
use uuid::Uuid;

use crate::deadlines::schedule::DeadlineKind;
use crate::resend_command::{ResendCause, ResendCommand};
use crate::stuck::round::{FULL_ROWS_MAX, PAGE_ROWS_MAX, Remaining, Round};
use crate::stuck::round_error::RoundError;

impl<E> Round<'_, E> {
    /// Publishes the INIT rows created in this range that the WAL does not bring any more.
    pub(super) async fn init_rows(&mut self, created: CreatedRange) -> Result<Remaining, RoundError> {
        let filter = StuckRowFilter { status: Status::Init, created, attempted: None, waited_us: None };
        let stuck_rows = self.stuck_rows().await?;
        let mut pages = stuck_rows.pages(&filter, None, PAGE_ROWS_MAX);
        loop {
            let session = self.session().await?;
            let Some(page) = pages.next(&session).await? else { return Ok(Remaining::default()) };
            // A row may be ahead in the WAL, or in flight. Everything of the page is in the WAL before the mark.
            let mark = mark_log(&session).await?;
            drop(session);
            let resends = self.context.resends.clone();
            self.without_idle_connection(async move { resends.settled(mark).await }).await?;
            let ids: Vec<Uuid> = page.rows.iter().map(|row| row.id).collect();
            let session = self.session().await?;
            let still_init = stuck_rows.still_init(&session, &ids).await?;
            drop(session);
            let mut stuck = Vec::new();
            for row in page.rows.into_iter().filter(|row| still_init.contains(&row.id)) {
                match self.time_left(&row, page.now_us) {
                    Some(left) => {
                        self.summary.later += 1;
                        let created = CreatedRange::of(row.created_at_us);
                        self.context.deadlines.found(DeadlineKind::Init, left, created, 1);
                    }
                    None => stuck.push(row.id),
                }
            }
            for ids in stuck.chunks(FULL_ROWS_MAX) {
                self.resend_init(ids).await?;
            }
        }
    }

    /// Rows that were not counted are due by their `created_at`.
    fn time_left(&self, row: &StuckRow, now_us: i64) -> Option<Duration> {
        let created_at_us = row.created_at_us.filter(|_| self.is_startup)?;
        let waited = Duration::from_micros(u64::try_from(now_us.saturating_sub(created_at_us)).unwrap_or(0));
        let left = self.context.options.init_after.saturating_sub(waited);
        (!left.is_zero()).then_some(left)
    }

    async fn resend_init(&mut self, ids: &[Uuid]) -> Result<(), RoundError> {
        let event_rows = self.event_rows().await?;
        let session = self.session().await?;
        let rows = event_rows.by_ids(&session, &self.context.database.names, ids).await?;
        drop(session);
        let mut by_id: HashMap<Uuid, _> = rows.into_iter().map(|row| (row.event.id, row)).collect();
        let rows = ids.iter().filter_map(|id| by_id.remove(id));
        let commands = rows
            .filter(|row| row.status == Some(Status::Init))
            .map(|row| ResendCommand::Resend { event: row.event, cause: ResendCause::Reconciler })
            .collect();
        self.submit(commands).await
    }
}
