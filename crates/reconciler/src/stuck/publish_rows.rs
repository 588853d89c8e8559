use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use outbox::{CreatedRange, LogBounds, RecordAtOffset, RecordPosition, Status};
use outbox_store::{PartitionRows, StuckPage, StuckRow, StuckRowFilter};
use tracing::debug;
use uuid::Uuid;

use crate::deadlines::schedule::{DeadlineKind, Overdue};
use crate::deadlines::tracker::micros;
use crate::evidence::judgement::{Judgement, LossReason, Probe, RecordFacts, judge};
use crate::evidence::kafka_evidence::KafkaEvidence;
use crate::evidence::probes::{ClaimedRecord, infer, next_probes};
use crate::resend_command::{ResendCause, ResendCommand};
use crate::stuck::resend_backoff::ResendTime;
use crate::stuck::round::{FULL_ROWS_MAX, PAGE_ROWS_MAX, Remaining, Round};
use crate::stuck::round_error::RoundError;

/// The evidence about a partition, read once per round.
#[derive(Clone, Copy)]
struct PartitionFacts {
    bounds: Option<LogBounds>,
    committed: i64,
}

type Partitions = HashMap<(String, i32), PartitionFacts>;

/// A row whose record is lost.
struct LostRow {
    row: StuckRow,
    reason: LossReason,
}

impl<E: KafkaEvidence> Round<'_, E> {
    /// Judges overdue PUBLISH rows and submits commands about those that do not wait for a consumer.
    pub(super) async fn publish_rows(&mut self, overdue: &Overdue) -> Result<Remaining, RoundError> {
        let after = self.context.options.publish_after.unwrap_or_default();
        let after_us = i64::try_from(micros(after)).unwrap_or(i64::MAX);
        let filter = StuckRowFilter {
            status: Status::Publish,
            created: overdue.created,
            attempted: overdue.attempted,
            waited_us: overdue.attempted.is_none().then_some(after_us),
        };
        let deadlines = &self.context.deadlines;
        // Read before the query: rows counted between the two are found again, which does no harm.
        let (width_us, counted_from_us) = (deadlines.publish_width_us(), deadlines.counted_from_us());
        let stuck_rows = self.stuck_rows().await?;
        let session = self.session().await?;
        let summary = stuck_rows.partition_summary(&session, &filter, width_us, counted_from_us).await?;
        for not_yet_due in summary.not_yet_due {
            let waited = Duration::from_micros(u64::try_from(not_yet_due.waited_us).unwrap_or(0));
            deadlines.found(
                DeadlineKind::Publish,
                after.saturating_sub(waited),
                not_yet_due.created,
                not_yet_due.rows,
            );
        }
        let partitions = self.partition_facts(&summary.partitions).await?;
        let mut remaining = Remaining::default();
        let mut unclear = Vec::new();
        for rows in summary.partitions {
            if self.is_all_lagging(&rows, &partitions).await? {
                self.summary.lagging += rows.rows;
                remaining.add(rows.rows, rows.created);
            } else {
                unclear.push(rows.partition);
            }
        }
        if unclear.is_empty() {
            return Ok(remaining);
        }
        let mut pages = stuck_rows.pages(&filter, Some(&unclear), PAGE_ROWS_MAX);
        drop(session);
        loop {
            let session = self.session().await?;
            let Some(page) = pages.next(&session).await? else { return Ok(remaining) };
            drop(session);
            self.publish_page(page, &partitions, &mut remaining).await?;
        }
    }

    async fn partition_facts(&self, rows: &[PartitionRows]) -> Result<Partitions, RoundError> {
        let names: Vec<(String, i32)> = rows.iter().filter_map(|rows| rows.partition.clone()).collect();
        if names.is_empty() {
            return Ok(Partitions::new());
        }
        // Committed offsets before log start offsets: a record that is consumed and then deleted between the two reads
        // counts as lost and is sent again. In the other order one that was not consumed could count as consumed.
        let committed = self.context.evidence.committed(&names).await?;
        let mut partitions = Partitions::new();
        for (name, committed) in names.into_iter().zip(committed) {
            let bounds = self.context.evidence.bounds(&name.0, name.1).await?;
            partitions.insert(name, PartitionFacts { bounds, committed });
        }
        Ok(partitions)
    }

    /// Whether all of these rows wait for a consumer, judged by the lowest and the highest record. While a consumer is
    /// down there may be millions.
    async fn is_all_lagging(
        &self,
        rows: &PartitionRows,
        partitions: &Partitions,
    ) -> Result<bool, RoundError> {
        let Some(name) = &rows.partition else { return Ok(false) };
        let Some(PartitionFacts { bounds, committed }) = partitions.get(name).copied() else {
            return Ok(false);
        };
        let facts = RecordFacts { bounds, committed, probe: Probe::NotProbed };
        for (offset, id) in [rows.lowest, rows.highest] {
            if committed > offset || judge(offset, &facts) != Judgement::NeedsProbe {
                return Ok(false);
            }
            let place = RecordPosition { topic: name.0.as_str().into(), partition: name.1, offset };
            if self.context.evidence.record_at(&place).await? != RecordAtOffset::Row(id) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn publish_page(
        &mut self,
        page: StuckPage,
        partitions: &Partitions,
        remaining: &mut Remaining,
    ) -> Result<(), RoundError> {
        let judgements = self.judge_rows(&page.rows, partitions).await?;
        let mut missed = Vec::new();
        let mut lost = Vec::new();
        for (row, judgement) in page.rows.into_iter().zip(judgements) {
            match judgement {
                Judgement::ReceiptMissed => {
                    if let Some(place) = row.place {
                        missed.push(ResendCommand::Complete { id: row.id, place });
                    }
                }
                Judgement::Lost(reason) => match self.resend_time(&row, page.now_us) {
                    ResendTime::After(wait) => {
                        self.summary.later += 1;
                        remaining.add_backing_off(row.created_at_us, wait);
                    }
                    ResendTime::Now | ResendTime::Never => lost.push(LostRow { row, reason }),
                },
                // A record that was not probed decides nothing.
                Judgement::ConsumerLag | Judgement::NeedsProbe => {
                    self.summary.lagging += 1;
                    remaining.add(1, CreatedRange::of(row.created_at_us));
                }
            }
        }
        self.submit(missed).await?;
        for lost in lost.chunks(FULL_ROWS_MAX) {
            self.resend_lost(lost, page.now_us).await?;
        }
        Ok(())
    }

    fn resend_time(&self, row: &StuckRow, now_us: i64) -> ResendTime {
        let ago = |at_us| Duration::from_micros(u64::try_from(now_us.saturating_sub(at_us)).unwrap_or(0));
        self.context.backoff.next(row.id, row.attempts, row.last_attempt_at_us.map(ago))
    }

    /// The judgements about the rows of a page, in their order.
    async fn judge_rows(
        &self,
        rows: &[StuckRow],
        partitions: &Partitions,
    ) -> Result<Vec<Judgement>, RoundError> {
        // A row without a position is no evidence that its record is missing.
        let mut judgements = vec![Judgement::NeedsProbe; rows.len()];
        let mut by_partition: BTreeMap<(&str, i32), Vec<usize>> = BTreeMap::new();
        for (index, row) in rows.iter().enumerate() {
            if let Some(RecordPosition { topic, partition, .. }) = &row.place {
                by_partition.entry((topic, *partition)).or_default().push(index);
            }
        }
        for ((topic, partition), indices) in by_partition {
            let facts = match partitions.get(&(topic.to_owned(), partition)) {
                Some(facts) => *facts,
                // A row was written with this partition after the summary was read.
                None => continue,
            };
            let claimed = self.probe(rows, &indices, facts.bounds).await?;
            let bounds = match claimed.iter().any(|claimed| claimed.probe == Probe::Absent) {
                // It was compacted if its offset is still within the bounds. Otherwise the log was truncated, or the topic
                // created again, since the bounds were read.
                true => self.context.evidence.bounds(topic, partition).await?,
                false => facts.bounds,
            };
            for (index, ClaimedRecord { offset, probe, .. }) in indices.into_iter().zip(claimed) {
                let facts = RecordFacts { bounds, committed: facts.committed, probe };
                judgements[index] = judge(offset, &facts);
            }
        }
        Ok(judgements)
    }

    /// Reads as many records of one partition as it takes to judge all of its rows.
    async fn probe(
        &self,
        rows: &[StuckRow],
        indices: &[usize],
        bounds: Option<LogBounds>,
    ) -> Result<Vec<ClaimedRecord>, RoundError> {
        let claimed = indices.iter().filter_map(|&index| {
            let StuckRow { place, last_attempt_at_us, .. } = &rows[index];
            let offset = place.as_ref()?.offset;
            Some(ClaimedRecord { offset, attempted_at_us: *last_attempt_at_us, probe: Probe::NotProbed })
        });
        let mut claimed: Vec<ClaimedRecord> = claimed.collect();
        let Some(bounds) = bounds else { return Ok(claimed) };
        loop {
            let next = next_probes(&claimed, bounds);
            if next.is_empty() {
                infer(&mut claimed, bounds);
                return Ok(claimed);
            }
            for at in next {
                let row = &rows[indices[at]];
                let Some(place) = &row.place else { continue };
                claimed[at].probe = Probe::of(row.id, self.context.evidence.record_at(place).await?);
            }
        }
    }

    /// Publishes rows whose records are lost, as they are in the table now, or gives them up.
    async fn resend_lost(&mut self, lost: &[LostRow], now_us: i64) -> Result<(), RoundError> {
        let event_rows = self.event_rows().await?;
        let session = self.session().await?;
        let ids: Vec<Uuid> = lost.iter().map(|lost| lost.row.id).collect();
        let rows = event_rows.by_ids(&session, &self.context.database.names, &ids).await?;
        drop(session);
        let mut by_id: HashMap<Uuid, _> = rows.into_iter().map(|row| (row.event.id, row)).collect();
        let mut commands = Vec::new();
        for LostRow { row, reason } in lost {
            let Some(fresh) = by_id.remove(&row.id) else { continue };
            let Some(place) = fresh.place.filter(|place| Some(place) == row.place.as_ref()) else { continue };
            if fresh.status != Some(Status::Publish) {
                continue;
            }
            commands.push(match self.resend_time(row, now_us) {
                ResendTime::Never => {
                    let reason = reason.text(&place);
                    let reason = format!("given up after {} attempts: {reason}", row.attempts);
                    ResendCommand::GiveUp { id: row.id, reason }
                }
                _ => {
                    debug!(id = %row.id, reason = reason.text(&place), "publishing a row again");
                    ResendCommand::Resend { event: fresh.event, cause: ResendCause::Reconciler }
                }
            });
        }
        self.submit(commands).await
    }
}
