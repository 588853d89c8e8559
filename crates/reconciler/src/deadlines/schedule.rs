//! Which rows are overdue: counted in buckets of time, without remembering any of them.

use std::collections::BTreeMap;

use outbox::{CreatedRange, WriteBackSummary};

use crate::deadlines::buckets::TimeBuckets;
use crate::splitmix::splitmix64;

// A bucket is overdue when its newest row is, so a row is checked up to the width of a bucket late: an eighth of its
// deadline. Narrower buckets would cost more queries when many rows are stuck.
const BUCKETS_PER_DEADLINE: u64 = 8;

// With the default of 5 min, rows that wait for a consumer are checked once an hour in the end.
const PAUSE_MAX_DEADLINES: u64 = 12;

// After this many checks the pause is the longest.
const CHECKS_MAX: u32 = 4;

/// Which of its two deadlines a row has missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum DeadlineKind {
    /// Read from the WAL, or found in the table, and still INIT.
    #[default]
    Init,
    /// Published and not consumed.
    Publish,
}

/// The bucket in which an INIT row counts until it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BucketNumber(i64);

/// Where in the table rows that are overdue can be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overdue {
    pub(crate) kind: DeadlineKind,
    /// The range of their `created_at`.
    pub(crate) created: CreatedRange,
    /// The range of their `last_attempt_at` in microseconds, both ends included. `None` if unknown: then every row of
    /// the range counts whose own timestamps say that it is overdue.
    pub(crate) attempted: Option<(i64, i64)>,
    /// How many there are at most.
    pub(crate) rows: u64,
    /// How often they were checked before.
    pub(crate) checks: u32,
}

impl Default for Overdue {
    /// No row, of an unlimited range.
    fn default() -> Self {
        let (kind, created) = (DeadlineKind::default(), CreatedRange::of(None));
        Overdue { kind, created, attempted: None, rows: 0, checks: 0 }
    }
}

/// The counts of all rows in INIT and PUBLISH, in buckets of time.
///
/// `now_us` is the relay's monotonic clock in microseconds. A count may be too high, which costs a query; it is never
/// too low, which would forget a row.
#[derive(Debug)]
pub(crate) struct DeadlineSchedule {
    init_after_us: u64,
    /// `None` if rows are not followed beyond PUBLISH.
    publish_after_us: Option<u64>,
    /// By the relay's clock.
    init: TimeBuckets,
    /// By the database's clock.
    publish: TimeBuckets,
    /// Rows that were checked and still wait, and rows that were found and are not overdue yet. They do not leave one
    /// by one: a check may have counted a completion already.
    rechecks: BTreeMap<RecheckKey, Recheck>,
    /// PUBLISH buckets from this number on contain every PUBLISH row. Earlier ones share their time with rows sent by
    /// other processes, whose completions would be subtracted from the count of this one.
    counted_from: i64,
    /// Until the first write-back, whose time is the database's, there may be PUBLISH rows of any time that were not
    /// counted.
    uncounted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RecheckKey {
    due_us: u64,
    kind: DeadlineKind,
    by_attempt: bool,
    checks: u32,
}

#[derive(Debug)]
struct Recheck {
    created: CreatedRange,
    attempted: Option<(i64, i64)>,
    rows: u64,
}

impl DeadlineSchedule {
    /// Without any rows. `publish_after_us` is `None` if rows are not followed beyond PUBLISH.
    pub(crate) fn new(init_after_us: u64, publish_after_us: Option<u64>) -> Self {
        let init_after_us = init_after_us.max(1);
        let publish_after_us = publish_after_us.map(|after| after.max(1));
        DeadlineSchedule {
            init_after_us,
            publish_after_us,
            init: TimeBuckets::new(width(init_after_us)),
            publish: TimeBuckets::new(width(publish_after_us.unwrap_or(u64::MAX))),
            rechecks: BTreeMap::new(),
            counted_from: i64::MIN,
            uncounted: true,
        }
    }

    /// The width of the PUBLISH buckets of a [`WriteBackSummary`], in microseconds.
    pub(crate) fn publish_width_us(&self) -> u64 {
        width(self.publish_after_us.unwrap_or(u64::MAX))
    }

    /// The WAL brought a row. Returns its bucket, and whether the next deadline may have changed.
    pub(crate) fn seen(&mut self, now_us: u64, created: CreatedRange) -> (BucketNumber, bool) {
        let number = signed(now_us / width(self.init_after_us));
        (BucketNumber(number), self.init.enter(number, 1, created, now_us))
    }

    /// The state of a row that was seen is durable.
    pub(crate) fn settled(&mut self, bucket: BucketNumber) {
        self.init.leave(bucket.0, 1);
    }

    /// A write-back was committed. Returns whether the next deadline may have changed.
    pub(crate) fn written(&mut self, now_us: u64, summary: &WriteBackSummary) -> bool {
        if self.publish_after_us.is_none() {
            return false;
        }
        let number = summary.at_us.div_euclid(signed(self.publish_width_us()));
        if self.uncounted {
            // Rows that were not counted were sent before now: in buckets up to this one, or up to the next one if
            // another server with a clock ahead wrote them.
            self.counted_from = self.counted_from.max(number.saturating_add(2));
            self.uncounted = false;
        }
        let created = summary.created.unwrap_or(CreatedRange::of(None));
        let new = self.publish.enter(number, summary.published, created, now_us);
        for (number, rows) in &summary.completed {
            if *number >= self.counted_from {
                self.publish.leave(*number, *rows);
            }
        }
        new
    }

    /// The WAL brought a row that was inserted as PUBLISH. Returns whether the next deadline may have changed.
    pub(crate) fn inserted_published(&mut self, now_us: u64, created: CreatedRange) -> bool {
        let due_us = self.publish_after_us.map(|after| now_us.saturating_add(after));
        self.found(DeadlineKind::Publish, due_us, created, 1)
    }

    /// Rows were found in the table that are due at `due_us`. Returns whether the next deadline may have changed.
    pub(crate) fn found(
        &mut self,
        kind: DeadlineKind,
        due_us: Option<u64>,
        created: CreatedRange,
        rows: u64,
    ) -> bool {
        let (Some(after_us), Some(due_us)) = (self.after_us(kind), due_us) else { return false };
        let due_us = due_us.div_ceil(width(after_us)).saturating_mul(width(after_us));
        self.schedule_recheck(due_us, Overdue { kind, created, attempted: None, rows, checks: 0 })
    }

    /// The time from which on every PUBLISH row was counted when it was sent, by the database's clock in
    /// microseconds; `None` while there may be others.
    pub(crate) fn counted_from_us(&self) -> Option<i64> {
        (!self.uncounted).then(|| self.counted_from.saturating_mul(signed(self.publish_width_us())))
    }

    /// Takes out rows that are overdue, adjacent buckets as one. The caller checks them and calls
    /// [`checked`](Self::checked) or [`put_back`](Self::put_back).
    pub(crate) fn due(&mut self, now_us: u64) -> Option<Overdue> {
        if let Some(limit_us) = now_us.checked_sub(self.init_after_us)
            && let Some((_, taken)) = self.init.take(limit_us)
        {
            let (created, rows) = (taken.created, taken.rows);
            return Some(Overdue { kind: DeadlineKind::Init, created, attempted: None, rows, checks: 0 });
        }
        if let Some(limit_us) = self.publish_after_us.and_then(|after| now_us.checked_sub(after))
            && let Some((first, taken)) = self.publish.take(limit_us)
        {
            self.counted_from = self.counted_from.max(taken.last.saturating_add(1));
            let width = signed(self.publish_width_us());
            let end = taken.last.saturating_add(1).saturating_mul(width).saturating_sub(1);
            return Some(Overdue {
                kind: DeadlineKind::Publish,
                created: taken.created,
                attempted: Some((first.saturating_mul(width), end)),
                rows: taken.rows,
                checks: 0,
            });
        }
        let first = self.rechecks.first_entry().filter(|recheck| recheck.key().due_us <= now_us)?;
        let (RecheckKey { kind, checks, .. }, Recheck { created, attempted, rows }) = first.remove_entry();
        Some(Overdue { kind, created, attempted, rows, checks })
    }

    /// Overdue rows were checked, and `remaining` of them still wait. They are checked again after a pause that grows
    /// from check to check, or after `again_after_us` if that is sooner.
    pub(crate) fn checked(
        &mut self,
        now_us: u64,
        overdue: Overdue,
        remaining: u64,
        again_after_us: Option<u64>,
    ) {
        let Some(after_us) = self.after_us(overdue.kind) else { return };
        let deadlines = (1_u64 << overdue.checks.min(CHECKS_MAX)).min(PAUSE_MAX_DEADLINES);
        let longest_us = after_us.saturating_mul(deadlines);
        let pause_us = longest_us - jitter(now_us, longest_us / 8);
        let (pause_us, grid_us) = match again_after_us {
            Some(sooner) if sooner < pause_us => (sooner, width(after_us)),
            _ => (pause_us, (longest_us / 4).max(1)),
        };
        // On a grid, so that rechecks due at about the same time become one query.
        let due_us = now_us.saturating_add(pause_us).div_ceil(grid_us).saturating_mul(grid_us);
        let checks = overdue.checks.saturating_add(1).min(CHECKS_MAX);
        self.schedule_recheck(due_us, Overdue { rows: remaining, checks, ..overdue });
    }

    /// Overdue rows were not checked: they are due at once.
    pub(crate) fn put_back(&mut self, now_us: u64, overdue: Overdue) {
        self.schedule_recheck(now_us, overdue);
    }

    /// When rows become overdue next, unless rows leave or enter before.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let init = self.init.earliest_us().map(|entered| entered.saturating_add(self.init_after_us));
        let publish = self.publish.earliest_us().zip(self.publish_after_us).map(|(e, a)| e.saturating_add(a));
        let recheck = self.rechecks.first_key_value().map(|(key, _)| key.due_us);
        [init, publish, recheck].into_iter().flatten().min()
    }

    fn schedule_recheck(&mut self, due_us: u64, rows: Overdue) -> bool {
        if rows.rows == 0 {
            return false;
        }
        let Overdue { kind, created, attempted, rows, checks } = rows;
        let key = RecheckKey { due_us, kind, by_attempt: attempted.is_some(), checks };
        let new = !self.rechecks.contains_key(&key);
        let recheck = self.rechecks.entry(key).or_insert(Recheck { created, attempted, rows: 0 });
        recheck.rows = recheck.rows.saturating_add(rows);
        recheck.created = recheck.created.and(created);
        recheck.attempted = recheck.attempted.zip(attempted).map(|(a, b)| (a.0.min(b.0), a.1.max(b.1)));
        new
    }

    fn after_us(&self, kind: DeadlineKind) -> Option<u64> {
        match kind {
            DeadlineKind::Init => Some(self.init_after_us),
            DeadlineKind::Publish => self.publish_after_us,
        }
    }

    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        (self.init.len(), self.publish.len(), self.rechecks.len())
    }
}

/// At most `i64::MAX`, because the database computes with it too.
fn width(after_us: u64) -> u64 {
    (after_us / BUCKETS_PER_DEADLINE).clamp(1, i64::MAX.unsigned_abs())
}

fn signed(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX)
}

/// Between 0 and `most_us`: buckets that became due together need not all be queried together.
fn jitter(now_us: u64, most_us: u64) -> u64 {
    splitmix64(now_us) % most_us.saturating_add(1)
}
