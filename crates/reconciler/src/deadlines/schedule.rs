//! Which rows are overdue: known by counting, without remembering any of them.

use std::collections::BTreeMap;

use outbox::{CreatedRange, WriteBackSummary};

use crate::deadlines::buckets::Buckets;
use crate::splitmix::splitmix64;

// A bucket is overdue when its newest row is, so a row is looked at up to a bucket's width late: an eighth of its
// deadline. Narrower ones would cost more queries when many rows are stuck.
const BUCKETS_PER_DEADLINE: u64 = 8;

// With the default of 5 min, what waits for a consumer is looked at once an hour in the end.
const PAUSE_MAX_DEADLINES: u64 = 12;

// After as many looks the pause is the longest.
const LOOKS_MAX: u32 = 4;

/// The state in which rows have waited for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Seen in the log, or found, and not written back.
    Init,
    /// Published and not consumed.
    Publish,
}

/// Where an INIT row is counted until it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BucketNumber(i64);

/// Where rows that are overdue can be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// What they say.
    pub kind: Kind,
    /// When they were created.
    pub created: CreatedRange,
    /// When they were sent last, by the database's clock in microseconds, both ends included. `None` where that is
    /// not known: then it is any row of the range that has waited for long enough by its own times.
    pub attempted: Option<(i64, i64)>,
    /// How many there are at most.
    pub rows: u64,
    /// How often these have been looked at before.
    pub looks: u32,
}

/// The account of all rows that wait, in buckets of time.
///
/// `now_us` is a monotonic clock of the relay's, in microseconds from any start. A count may be too high, which costs
/// a query, and is never too low, which would forget a row.
#[derive(Debug)]
pub struct Deadlines {
    init_after_us: u64,
    /// `None` where rows are not followed beyond PUBLISH.
    publish_after_us: Option<u64>,
    /// By the relay's clock.
    init: Buckets,
    /// By the database's clock.
    publish: Buckets,
    /// What was looked at and still waits, and what was found and is not overdue yet. Rows do not leave it one by
    /// one: a completion may have been counted by the look already.
    again: BTreeMap<Turn, Again>,
    /// In PUBLISH buckets from this number on every row that says PUBLISH was counted in. In earlier ones there are
    /// rows of other lives, and what they leave would be taken from the count of this life's.
    counted_from: i64,
    /// Until the first write-back, which tells the database's time: rows may say PUBLISH, as of now, that were not
    /// counted.
    uncounted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    due_us: u64,
    kind: Kind,
    by_attempt: bool,
    looks: u32,
}

#[derive(Debug)]
struct Again {
    created: CreatedRange,
    attempted: Option<(i64, i64)>,
    rows: u64,
}

impl Deadlines {
    /// With nothing in it. `publish_after_us` is `None` where nobody follows rows beyond PUBLISH.
    pub fn new(init_after_us: u64, publish_after_us: Option<u64>) -> Self {
        let init_after_us = init_after_us.max(1);
        let publish_after_us = publish_after_us.map(|after| after.max(1));
        Deadlines {
            init_after_us,
            publish_after_us,
            init: Buckets::new(width(init_after_us)),
            publish: Buckets::new(width(publish_after_us.unwrap_or(u64::MAX))),
            again: BTreeMap::new(),
            counted_from: i64::MIN,
            uncounted: true,
        }
    }

    /// The width in microseconds by which a [`WriteBackSummary`] names PUBLISH buckets.
    pub fn publish_width_us(&self) -> u64 {
        width(self.publish_after_us.unwrap_or(u64::MAX))
    }

    /// The log brought a row. Returns its bucket, and whether the next deadline may have changed.
    pub fn seen(&mut self, now_us: u64, created: CreatedRange) -> (BucketNumber, bool) {
        let number = signed(now_us / width(self.init_after_us));
        (BucketNumber(number), self.init.enter(number, 1, created, now_us))
    }

    /// A row that was seen is durably written, or set aside.
    pub fn settled(&mut self, bucket: BucketNumber) {
        self.init.leave(bucket.0, 1);
    }

    /// A write-back was committed. Returns whether the next deadline may have changed.
    pub fn written(&mut self, now_us: u64, summary: &WriteBackSummary) -> bool {
        if self.publish_after_us.is_none() {
            return false;
        }
        let number = summary.at_us.div_euclid(signed(self.publish_width_us()));
        if self.uncounted {
            // Rows that were not counted were sent before now: up to this bucket, or up to the next one, if they
            // were written by another server whose clock is ahead.
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

    /// The log brought a row that says PUBLISH already. Returns whether the next deadline may have changed.
    pub fn inserted_published(&mut self, now_us: u64, created: CreatedRange) -> bool {
        self.found(Kind::Publish, self.publish_after_us.map(|after| now_us.saturating_add(after)), created, 1)
    }

    /// Rows were found in the table that will be overdue at `due_us`.
    pub(crate) fn found(
        &mut self,
        kind: Kind,
        due_us: Option<u64>,
        created: CreatedRange,
        rows: u64,
    ) -> bool {
        let (Some(after_us), Some(due_us)) = (self.after_us(kind), due_us) else { return false };
        let due_us = due_us.div_ceil(width(after_us)).saturating_mul(width(after_us));
        self.look_again(due_us, Overdue { kind, created, attempted: None, rows, looks: 0 })
    }

    /// The time from which on every PUBLISH row was counted when it was sent, by the database's clock in
    /// microseconds; `None` while there may be others.
    pub(crate) fn counted_from_us(&self) -> Option<i64> {
        (!self.uncounted).then(|| self.counted_from.saturating_mul(signed(self.publish_width_us())))
    }

    /// What is overdue now, if anything, and is to be [`judged`](Self::judged): adjacent buckets as one.
    pub fn due(&mut self, now_us: u64) -> Option<Overdue> {
        if let Some(limit_us) = now_us.checked_sub(self.init_after_us)
            && let Some((_, taken)) = self.init.take(limit_us)
        {
            let (created, rows) = (taken.created, taken.rows);
            return Some(Overdue { kind: Kind::Init, created, attempted: None, rows, looks: 0 });
        }
        if let Some(limit_us) = self.publish_after_us.and_then(|after| now_us.checked_sub(after))
            && let Some((first, taken)) = self.publish.take(limit_us)
        {
            self.counted_from = self.counted_from.max(taken.last.saturating_add(1));
            let width = signed(self.publish_width_us());
            let end = taken.last.saturating_add(1).saturating_mul(width).saturating_sub(1);
            return Some(Overdue {
                kind: Kind::Publish,
                created: taken.created,
                attempted: Some((first.saturating_mul(width), end)),
                rows: taken.rows,
                looks: 0,
            });
        }
        let turn = self.again.first_entry().filter(|turn| turn.key().due_us <= now_us)?;
        let (Turn { kind, looks, .. }, Again { created, attempted, rows }) = turn.remove_entry();
        Some(Overdue { kind, created, attempted, rows, looks })
    }

    /// What was overdue was looked at, and `remaining` of its rows wait on. They are to be looked at again after a
    /// pause that grows from look to look, or after `again_after_us` if that is sooner.
    pub fn judged(&mut self, now_us: u64, overdue: Overdue, remaining: u64, again_after_us: Option<u64>) {
        let Some(after_us) = self.after_us(overdue.kind) else { return };
        let deadlines = (1_u64 << overdue.looks.min(LOOKS_MAX)).min(PAUSE_MAX_DEADLINES);
        let longest_us = after_us.saturating_mul(deadlines);
        let pause_us = longest_us - jitter(now_us, longest_us / 8);
        let (pause_us, grid_us) = match again_after_us {
            Some(sooner) if sooner < pause_us => (sooner, width(after_us)),
            _ => (pause_us, (longest_us / 4).max(1)),
        };
        // What is looked at again at about the same time is looked at together.
        let due_us = now_us.saturating_add(pause_us).div_ceil(grid_us).saturating_mul(grid_us);
        let looks = overdue.looks.saturating_add(1).min(LOOKS_MAX);
        self.look_again(due_us, Overdue { rows: remaining, looks, ..overdue });
    }

    /// When something is overdue next, if nothing leaves or enters before.
    pub fn next_due(&self) -> Option<u64> {
        let init = self.init.earliest_us().map(|entered| entered.saturating_add(self.init_after_us));
        let publish = self.publish.earliest_us().zip(self.publish_after_us).map(|(e, a)| e.saturating_add(a));
        let again = self.again.first_key_value().map(|(turn, _)| turn.due_us);
        [init, publish, again].into_iter().flatten().min()
    }

    fn look_again(&mut self, due_us: u64, of: Overdue) -> bool {
        if of.rows == 0 {
            return false;
        }
        let turn = Turn { due_us, kind: of.kind, by_attempt: of.attempted.is_some(), looks: of.looks };
        let new = !self.again.contains_key(&turn);
        let again =
            self.again.entry(turn).or_insert(Again { created: of.created, attempted: of.attempted, rows: 0 });
        again.rows = again.rows.saturating_add(of.rows);
        again.created = again.created.and(of.created);
        again.attempted = again.attempted.zip(of.attempted).map(|(a, b)| (a.0.min(b.0), a.1.max(b.1)));
        new
    }

    fn after_us(&self, kind: Kind) -> Option<u64> {
        match kind {
            Kind::Init => Some(self.init_after_us),
            Kind::Publish => self.publish_after_us,
        }
    }

    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        (self.init.len(), self.publish.len(), self.again.len())
    }
}

fn width(after_us: u64) -> u64 {
    // A width is a number of the database's too.
    (after_us / BUCKETS_PER_DEADLINE).clamp(1, i64::MAX.unsigned_abs())
}

fn signed(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX)
}

/// Between 0 and `most_us`, spread by the time: rows that came together need not all be asked about together.
fn jitter(now_us: u64, most_us: u64) -> u64 {
    splitmix64(now_us) % most_us.saturating_add(1)
}
