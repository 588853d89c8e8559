//! Rows counted by the time at which they came.

use std::collections::BTreeMap;

use outbox::CreatedRange;

// Far more than a deadline has buckets. Beyond it nobody has asked what is overdue for a long time, and the oldest
// will be looked at together anyway.
const BUCKETS_MAX: usize = 256;

/// Non-empty buckets, each of one or several adjacent numbers that no other has.
#[derive(Debug)]
pub(crate) struct Buckets {
    width_us: u64,
    by_first: BTreeMap<i64, Bucket>,
}

/// Rows that came in one stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// The last number that belongs to it.
    pub(crate) last: i64,
    pub(crate) rows: u64,
    pub(crate) created: CreatedRange,
    /// When the newest of them came; at most a width after the first, even where the clock that names buckets goes
    /// back and rows come to an old one again.
    pub(crate) entered_us: u64,
    first_us: u64,
}

impl Buckets {
    pub(crate) fn new(width_us: u64) -> Self {
        Buckets { width_us, by_first: BTreeMap::new() }
    }

    /// Counts rows in; says whether the bucket is a new one.
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
        let bucket = Bucket { last: number, rows, created, entered_us: now_us, first_us: now_us };
        self.by_first.insert(number, bucket);
        if self.by_first.len() > BUCKETS_MAX {
            self.join_oldest();
        }
        true
    }

    /// Counts rows out. Those of a bucket that is not there any more were counted otherwise.
    pub(crate) fn leave(&mut self, number: i64, rows: u64) {
        if let Some((first, bucket)) = self.bucket(number) {
            bucket.rows = bucket.rows.saturating_sub(rows);
            if bucket.rows == 0 {
                self.by_first.remove(&first);
            }
        }
    }

    /// Takes out the oldest bucket that nothing has entered after `limit_us`, with those right behind it of which
    /// the same is true, as one; and its first number.
    pub(crate) fn take(&mut self, limit_us: u64) -> Option<(i64, Bucket)> {
        let (&first, _) = self.by_first.iter().find(|(_, bucket)| bucket.entered_us <= limit_us)?;
        let mut taken = self.by_first.remove(&first)?;
        while let Some(next) = taken.last.checked_add(1)
            && self.by_first.get(&next).is_some_and(|bucket| bucket.entered_us <= limit_us)
            && let Some(bucket) = self.by_first.remove(&next)
        {
            taken.join(bucket);
        }
        Some((first, taken))
    }

    /// Since when the bucket has been complete that is overdue next.
    pub(crate) fn earliest_us(&self) -> Option<u64> {
        self.by_first.values().map(|bucket| bucket.entered_us).min()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_first.len()
    }

    fn bucket(&mut self, number: i64) -> Option<(i64, &mut Bucket)> {
        let (first, bucket) = self.by_first.range_mut(..=number).next_back()?;
        (bucket.last >= number).then_some((*first, bucket))
    }

    fn join_oldest(&mut self) {
        if let Some((first, mut bucket)) = self.by_first.pop_first() {
            if let Some((_, next)) = self.by_first.pop_first() {
                // The elder of the two must not wait for longer.
                let entered_us = bucket.entered_us.min(next.entered_us);
                bucket.join(next);
                bucket.entered_us = entered_us;
            }
            self.by_first.insert(first, bucket);
        }
    }
}

impl Bucket {
    fn join(&mut self, later: Bucket) {
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
    fn neighbours_come_as_one_and_a_gap_parts_them() {
        let mut buckets = Buckets::new(10);
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
    fn an_empty_bucket_is_not_there() {
        let mut buckets = Buckets::new(10);
        buckets.enter(1, 2, at(0), 0);
        buckets.leave(1, 5);
        buckets.leave(9, 1);
        assert_eq!(buckets.earliest_us(), None);
    }

    #[test]
    fn many_buckets_are_joined_and_still_left() {
        let mut buckets = Buckets::new(10);
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
