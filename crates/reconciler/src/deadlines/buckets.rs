//! Counts of rows by the time at which they entered.

use std::collections::BTreeMap;

use outbox::CreatedRange;

// Far more than a deadline has buckets. More exist only if checks were impossible for a long time, and then the oldest
// are checked together anyway.
const BUCKETS_MAX: usize = 256;

/// Non-empty buckets. Each covers one or several adjacent numbers; no two overlap.
#[derive(Debug)]
pub(crate) struct TimeBuckets {
    width_us: u64,
    by_first: BTreeMap<i64, TimeBucket>,
}

/// Rows that entered within one interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimeBucket {
    /// The last number that it covers.
    pub(crate) last: i64,
    pub(crate) rows: u64,
    pub(crate) created: CreatedRange,
    /// When the newest row entered; at most a width after the first, even if the database's clock goes back and rows
    /// enter an old bucket again.
    pub(crate) entered_us: u64,
    first_us: u64,
}

impl TimeBuckets {
    pub(crate) fn new(width_us: u64) -> Self {
        TimeBuckets { width_us, by_first: BTreeMap::new() }
    }

    /// Adds rows. Returns whether the bucket is new.
    pub(crate) fn enter(&mut self, number: i64, rows: u64, created: CreatedRange, now_us: u64) -> bool {
        if rows == 0 {
            return false;
        }
        let width_us = self.width_us;
        if let Some((_, bucket)) = self.bucket(number) {
            bucket.rows = bucket.rows.saturating_add(rows);
            bucket.created = bucket.created.and(created);
            let latest_us = bucket.first_us.saturating_add(width_us);
            bucket.entered_us = bucket.entered_us.max(now_us.min(latest_us));
            return false;
        }
        let bucket = TimeBucket { last: number, rows, created, entered_us: now_us, first_us: now_us };
        self.by_first.insert(number, bucket);
        if self.by_first.len() > BUCKETS_MAX {
            self.merge_oldest();
        }
        true
    }

    /// Removes rows. Those of a bucket that was taken out count in a recheck.
    pub(crate) fn leave(&mut self, number: i64, rows: u64) {
        if let Some((first, bucket)) = self.bucket(number) {
            bucket.rows = bucket.rows.saturating_sub(rows);
            if bucket.rows == 0 {
                self.by_first.remove(&first);
            }
        }
    }

    /// Takes out the oldest bucket that no row has entered after `limit_us`, merged with the adjacent ones of which
    /// that is true too. Returns its first number as well.
    pub(crate) fn take(&mut self, limit_us: u64) -> Option<(i64, TimeBucket)> {
        let (&first, _) = self.by_first.iter().find(|(_, bucket)| bucket.entered_us <= limit_us)?;
        let mut taken = self.by_first.remove(&first)?;
        while let Some(next) = taken.last.checked_add(1)
            && self.by_first.get(&next).is_some_and(|bucket| bucket.entered_us <= limit_us)
            && let Some(bucket) = self.by_first.remove(&next)
        {
            taken.merge(bucket);
        }
        Some((first, taken))
    }

    /// When the newest row of the bucket entered that is overdue first.
    pub(crate) fn earliest_us(&self) -> Option<u64> {
        self.by_first.values().map(|bucket| bucket.entered_us).min()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_first.len()
    }

    fn bucket(&mut self, number: i64) -> Option<(i64, &mut TimeBucket)> {
        let (first, bucket) = self.by_first.range_mut(..=number).next_back()?;
        (bucket.last >= number).then_some((*first, bucket))
    }

    fn merge_oldest(&mut self) {
        if let Some((first, mut bucket)) = self.by_first.pop_first() {
            if let Some((_, next)) = self.by_first.pop_first() {
                // The older of the two must not wait longer.
                let entered_us = bucket.entered_us.min(next.entered_us);
                bucket.merge(next);
                bucket.entered_us = entered_us;
            }
            self.by_first.insert(first, bucket);
        }
    }
}

impl TimeBucket {
    fn merge(&mut self, later: TimeBucket) {
        self.last = later.last;
        self.rows = self.rows.saturating_add(later.rows);
        self.created = self.created.and(later.created);
        self.entered_us = self.entered_us.max(later.entered_us);
        self.first_us = self.first_us.min(later.first_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: i64) -> CreatedRange {
        CreatedRange::of(Some(us))
    }

    #[test]
    fn take_merges_adjacent_buckets_and_stops_at_a_gap() {
        let mut buckets = TimeBuckets::new(10);
        for (number, now_us) in [(1, 10), (2, 20), (4, 40), (5, 50)] {
            assert!(buckets.enter(number, 2, at(number), now_us));
        }
        buckets.leave(2, 1);
        let (first, taken) = buckets.take(45).expect("two are overdue");
        assert_eq!((first, taken.last, taken.rows), (1, 2, 3));
        assert_eq!(taken.created, CreatedRange { from_us: 1, to_us: 2 });
        assert_eq!(buckets.take(45).map(|(first, taken)| (first, taken.last)), Some((4, 4)));
        assert_eq!(buckets.take(45), None);
        assert_eq!(buckets.earliest_us(), Some(50));
    }

    #[test]
    fn leave_removes_an_empty_bucket_and_ignores_an_unknown_one() {
        let mut buckets = TimeBuckets::new(10);
        buckets.enter(1, 2, at(0), 0);
        buckets.leave(1, 5);
        buckets.leave(9, 1);
        assert_eq!(buckets.earliest_us(), None);
    }

    #[test]
    fn enter_merges_the_oldest_beyond_the_maximum_and_leave_finds_their_rows() {
        let mut buckets = TimeBuckets::new(10);
        let many = 3 * BUCKETS_MAX as i64;
        for number in 0..many {
            buckets.enter(2 * number, 1, at(number), number as u64);
        }
        assert!(buckets.len() <= BUCKETS_MAX);
        for number in 0..many {
            buckets.leave(2 * number, 1);
        }
        assert_eq!(buckets.len(), 0);
    }
}
