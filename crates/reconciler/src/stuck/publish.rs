//! Rows that say PUBLISH for too long.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use outbox::{CreatedRange, Status};
use outbox_store::{PartitionRows, StoredPlace, StuckPage, StuckRow, Suspects};
use uuid::Uuid;

use crate::deadlines::schedule::{Kind, Overdue};
use crate::deadlines::tracker::micros;
use crate::evidence::judgement::{Facts, Look, Verdict, Why, verdict};
use crate::evidence::kafka_evidence::{Bounds, Broker, RecordAt};
use crate::evidence::probes::{Placed, infer, looks};
use crate::resend_command::{Origin, Work};
use crate::stuck::resend_backoff::Resend;
use crate::stuck::round::{FULL_ROWS_MAX, PAGE_ROWS_MAX, Remaining, Round};
use crate::stuck::round_error::Trouble;
use crate::stuck::round_summary::Plan;

/// What Kafka says of a partition, asked once in a round.
#[derive(Clone, Copy)]
struct Partition {
    bounds: Option<Bounds>,
    committed: i64,
}

type Partitions = HashMap<(String, i32), Partition>;

/// A row whose record is gone.
struct Lost {
    row: StuckRow,
    why: Why,
}

impl<B: Broker> Round<'_, B> {
    /// Judges the rows and plans what is to become of them.
    pub(super) async fn publish_rows(&mut self, overdue: &Overdue) -> Result<Remaining, Trouble> {
        let after = self.of.options.publish_after.unwrap_or_default();
        let after_us = i64::try_from(micros(after)).unwrap_or(i64::MAX);
        let of = Suspects {
            status: Status::Publish,
            created: overdue.created,
            attempted: overdue.attempted,
            waited_us: overdue.attempted.is_none().then_some(after_us),
        };
        let account = &self.of.account;
        // Before the question: what is counted between the two is found again, which does no harm.
        let (width_us, counted_from_us) = (account.publish_width_us(), account.counted_from_us());
        let stuck_rows = self.stuck_rows().await?;
        let session = self.session().await?;
        let overview = stuck_rows.overview(&session, &of, width_us, counted_from_us).await?;
        for young in overview.young {
            let waited = Duration::from_micros(u64::try_from(young.waited_us).unwrap_or(0));
            account.found(Kind::Publish, after.saturating_sub(waited), young.created, young.rows);
        }
        let partitions = self.ask(&overview.partitions).await?;
        let mut remaining = Remaining::default();
        let mut unclear = Vec::new();
        for rows in overview.partitions {
            if self.is_all_lagging(&rows, &partitions).await? {
                self.said.lagging += rows.rows;
                remaining.add(rows.rows, rows.created);
            } else {
                unclear.push(rows.partition);
            }
        }
        if unclear.is_empty() {
            return Ok(remaining);
        }
        let mut pages = stuck_rows.pages(&of, Some(&unclear), PAGE_ROWS_MAX);
        drop(session);
        loop {
            let session = self.session().await?;
            let Some(page) = pages.next(&session).await? else { return Ok(remaining) };
            drop(session);
            self.publish_page(page, &partitions, &mut remaining).await?;
        }
    }

    async fn ask(&self, rows: &[PartitionRows]) -> Result<Partitions, Trouble> {
        let names: Vec<(String, i32)> = rows.iter().filter_map(|rows| rows.partition.clone()).collect();
        if names.is_empty() {
            return Ok(Partitions::new());
        }
        // First what was consumed, then where the log starts: what is deleted between the two answers after it was
        // consumed counts as lost and is sent again, rather than as consumed when it was not.
        let committed = self.of.broker.committed(&names).await?;
        let mut partitions = Partitions::new();
        for (name, committed) in names.into_iter().zip(committed) {
            let bounds = self.of.broker.bounds(&name.0, name.1).await?;
            partitions.insert(name, Partition { bounds, committed });
        }
        Ok(partitions)
    }

    /// Whether all of these rows wait for a consumer, which their ends tell. While one is away there may be millions.
    async fn is_all_lagging(&self, rows: &PartitionRows, known: &Partitions) -> Result<bool, Trouble> {
        let Some(name) = &rows.partition else { return Ok(false) };
        let Some(Partition { bounds, committed }) = known.get(name).copied() else { return Ok(false) };
        let facts = |record| Facts { bounds, committed, record };
        for (offset, id) in [rows.lowest, rows.highest] {
            if committed > offset || verdict(offset, &facts(Look::NotNeeded)) != Verdict::Look {
                return Ok(false);
            }
            let place = StoredPlace { topic: name.0.clone(), partition: name.1, offset };
            if self.of.broker.record_at(&place).await? != RecordAt::Row(id) {
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
    ) -> Result<(), Trouble> {
        let verdicts = self.judge(&page.rows, partitions).await?;
        let mut missed = Vec::new();
        let mut lost = Vec::new();
        for (row, verdict) in page.rows.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Missed => {
                    if let Some(place) = row.place {
                        missed.push((row.id, Plan::Complete, Work::Complete { id: row.id, place }));
                    }
                }
                Verdict::Gone(why) => match self.resend(&row, page.now_us) {
                    Resend::In(wait) => {
                        self.said.later += 1;
                        remaining.add_later(row.created_at_us, wait);
                    }
                    Resend::Now | Resend::Never => lost.push(Lost { row, why }),
                },
                // Nobody could look at it, so nothing is decided.
                Verdict::Lagging | Verdict::Look => {
                    self.said.lagging += 1;
                    remaining.add(1, CreatedRange::of(row.created_at_us));
                }
            }
        }
        self.plan(missed).await?;
        for lost in lost.chunks(FULL_ROWS_MAX) {
            self.send_lost(lost, page.now_us).await?;
        }
        Ok(())
    }

    fn resend(&self, row: &StuckRow, now_us: i64) -> Resend {
        let ago = |at_us| Duration::from_micros(u64::try_from(now_us.saturating_sub(at_us)).unwrap_or(0));
        self.of.backoff.resend(row.id, row.attempts, row.last_attempt_at_us.map(ago))
    }

    /// The verdicts on a page's rows, in their order.
    async fn judge(&self, rows: &[StuckRow], known: &Partitions) -> Result<Vec<Verdict>, Trouble> {
        let mut verdicts = vec![Verdict::Gone(Why::NoPlace); rows.len()];
        let mut by_partition: BTreeMap<(&str, i32), Vec<usize>> = BTreeMap::new();
        for (index, row) in rows.iter().enumerate() {
            if let Some(StoredPlace { topic, partition, .. }) = &row.place {
                by_partition.entry((topic, *partition)).or_default().push(index);
            }
        }
        for ((topic, partition), indices) in by_partition {
            let facts = match known.get(&(topic.to_owned(), partition)) {
                Some(facts) => *facts,
                // A row has moved there since the overview.
                None => {
                    indices.iter().for_each(|&index| verdicts[index] = Verdict::Look);
                    continue;
                }
            };
            let placed = self.look_at(rows, &indices, facts.bounds).await?;
            let bounds = match placed.iter().any(|placed| placed.record == Look::Absent) {
                // Compaction took it if the log still reaches there; otherwise the log was cut or made anew meanwhile.
                true => self.of.broker.bounds(topic, partition).await?,
                false => facts.bounds,
            };
            for (index, Placed { offset, record, .. }) in indices.into_iter().zip(placed) {
                let facts = Facts { bounds, committed: facts.committed, record };
                verdicts[index] = verdict(offset, &facts);
            }
        }
        Ok(verdicts)
    }

    /// Looks at as many records of one partition as it takes to know about all of them.
    async fn look_at(
        &self,
        rows: &[StuckRow],
        indices: &[usize],
        bounds: Option<Bounds>,
    ) -> Result<Vec<Placed>, Trouble> {
        let placed = indices.iter().filter_map(|&index| {
            let StuckRow { place, last_attempt_at_us, .. } = &rows[index];
            let offset = place.as_ref()?.offset;
            Some(Placed { offset, attempted_at_us: *last_attempt_at_us, record: Look::NotNeeded })
        });
        let mut placed: Vec<Placed> = placed.collect();
        let Some(bounds) = bounds else { return Ok(placed) };
        loop {
            let next = looks(&placed, bounds);
            if next.is_empty() {
                infer(&mut placed, bounds);
                return Ok(placed);
            }
            for at in next {
                let row = &rows[indices[at]];
                let Some(place) = &row.place else { continue };
                placed[at].record = Look::of(row.id, self.of.broker.record_at(place).await?);
            }
        }
    }

    /// Plans rows whose records are gone, as they stand now.
    async fn send_lost(&mut self, lost: &[Lost], now_us: i64) -> Result<(), Trouble> {
        let event_rows = self.event_rows().await?;
        let session = self.session().await?;
        let ids: Vec<Uuid> = lost.iter().map(|lost| lost.row.id).collect();
        let rows = event_rows.by_ids(&session, &self.of.database.names, &ids).await?;
        drop(session);
        let mut by_id: HashMap<Uuid, _> = rows.into_iter().map(|row| (row.event.id, row)).collect();
        let mut works = Vec::new();
        for Lost { row, why } in lost {
            let Some(fresh) = by_id.remove(&row.id) else { continue };
            // A negative offset is none, for the page.
            let place = fresh.place.filter(|place| place.offset >= 0);
            if fresh.status != Some(Status::Publish) || place != row.place {
                continue;
            }
            works.push(match self.resend(row, now_us) {
                Resend::Never => {
                    let reason =
                        format!("given up after {} attempts: {}", row.attempts, why.of(place.as_ref()));
                    (row.id, Plan::GiveUp, Work::GiveUp { id: row.id, reason })
                }
                _ => {
                    let work = Work::Send { event: fresh.event, origin: Origin::Reconciler };
                    (row.id, Plan::Send, work)
                }
            });
        }
        self.plan(works).await
    }
}
