//! The partitions that have records of ours, from whoever publishes to the worker.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Nothing has gone back.
const NOT_BACK: i64 = i64::MAX;

/// How far a partition's records of ours are known to reach.
#[derive(Debug)]
pub(super) struct Heights {
    /// Behind the last one.
    end: AtomicI64,
    /// The lowest offset that came where a higher one was to be expected.
    back: AtomicI64,
}

impl Heights {
    /// Behind the last record of ours.
    pub(super) fn end(&self) -> i64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Where our records start anew, when offsets went back since the last call.
    pub(super) fn take_back(&self) -> Option<i64> {
        let back = self.back.swap(NOT_BACK, Ordering::Relaxed);
        (back != NOT_BACK).then_some(back)
    }
}

/// A partition for the worker to consume.
#[derive(Debug)]
pub(super) struct NewPartition {
    pub(super) topic: Arc<str>,
    pub(super) number: i32,
    pub(super) heights: Arc<Heights>,
}

/// What the worker has not looked at yet. At most one entry for each partition.
#[derive(Debug, Default)]
pub(super) struct News {
    new: Mutex<Vec<NewPartition>>,
    has_new: AtomicBool,
    has_back: AtomicBool,
}

impl News {
    /// The partitions that came since the last call.
    pub(super) fn take_new(&self) -> Vec<NewPartition> {
        if !self.has_new.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut *self.lock())
    }

    /// Whether in some partition offsets went back since the last call.
    pub(super) fn take_has_back(&self) -> bool {
        self.has_back.load(Ordering::Relaxed) && self.has_back.swap(false, Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<NewPartition>> {
        self.new.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The publisher's side.
#[derive(Debug)]
pub(super) struct Seen {
    news: Arc<News>,
    /// By the partition's number.
    topics: HashMap<Arc<str>, Vec<Option<Mark>>>,
}

#[derive(Debug)]
struct Mark {
    last: i64,
    heights: Arc<Heights>,
}

impl Seen {
    pub(super) fn new(news: Arc<News>) -> Self {
        Seen { news, topics: HashMap::new() }
    }

    /// A record of ours is at `offset`. One without an offset, as for a record whose acknowledgement was lost,
    /// says only that there is the partition.
    pub(super) fn sees(&mut self, topic: &Arc<str>, partition: i32, offset: i64) {
        let Ok(index) = usize::try_from(partition) else { return };
        let marks = match self.topics.get_mut(topic) {
            Some(marks) => marks,
            None => self.topics.entry(Arc::clone(topic)).or_default(),
        };
        if index >= marks.len() {
            marks.resize_with(index + 1, || None);
        }
        let Some(mark) = &mut marks[index] else {
            let last = offset.max(-1);
            let heights = Heights { end: AtomicI64::new(last + 1), back: AtomicI64::new(NOT_BACK) };
            let heights = Arc::new(heights);
            marks[index] = Some(Mark { last, heights: Arc::clone(&heights) });
            self.news.lock().push(NewPartition { topic: Arc::clone(topic), number: partition, heights });
            self.news.has_new.store(true, Ordering::Release);
            return;
        };
        if offset < 0 {
            return;
        }
        // A log only grows. One that went back was made anew, or lost its end with its leader.
        if offset <= mark.last {
            mark.heights.back.fetch_min(offset, Ordering::Relaxed);
            self.news.has_back.store(true, Ordering::Release);
        }
        mark.last = offset;
        mark.heights.end.store(offset + 1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_news_once_and_its_end_is_known() {
        let news = Arc::new(News::default());
        let mut seen = Seen::new(Arc::clone(&news));
        let topic: Arc<str> = Arc::from("orders");
        for offset in [4, 5, 6] {
            seen.sees(&topic, 2, offset);
        }
        seen.sees(&topic, 0, -1);
        seen.sees(&topic, -1, 3);
        let new = news.take_new();
        let told: Vec<_> = new.iter().map(|new| (&*new.topic, new.number, new.heights.end())).collect();
        assert_eq!(told, [("orders", 2, 7), ("orders", 0, 0)]);
        assert!(news.take_new().is_empty());
        assert!(!news.take_has_back());
    }

    #[test]
    fn an_offset_that_went_back_is_told_once_with_the_lowest() {
        let news = Arc::new(News::default());
        let mut seen = Seen::new(Arc::clone(&news));
        let topic: Arc<str> = Arc::from("orders");
        for offset in [100, 5, -1, 6, 3, 4] {
            seen.sees(&topic, 0, offset);
        }
        let heights = &news.take_new()[0].heights;
        assert!(news.take_has_back());
        assert!(!news.take_has_back());
        assert_eq!(heights.take_back(), Some(3));
        assert_eq!(heights.take_back(), None);
        assert_eq!(heights.end(), 5);
    }
}
