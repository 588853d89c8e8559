//! The deadlines, shared by the main loop, which counts, and the reconciler, which waits for them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outbox::{CreatedRange, WriteBackSummary};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::deadlines::schedule::{BucketNumber, DeadlineKind, DeadlineSchedule, Overdue};

/// Counts the rows in INIT and PUBLISH until they are settled. One per process: it outlives the sessions of the relay.
/// Clones share it.
///
/// An event costs two short locks and a look at the clock. Memory grows with the number of buckets, not of rows.
#[derive(Clone, Debug)]
pub struct DeadlineTracker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    schedule: Mutex<DeadlineSchedule>,
    changed: Notify,
}

/// Rows that are overdue and being checked. Dropped before [`finish`](Self::finish), it puts them back: the next
/// session checks them.
#[derive(Debug)]
pub(crate) struct OverdueCheck {
    tracker: DeadlineTracker,
    overdue: Option<Overdue>,
}

impl DeadlineTracker {
    /// Without any rows. `publish_after` is `None` if rows are not followed beyond PUBLISH.
    pub fn new(init_after: Duration, publish_after: Option<Duration>) -> Self {
        let schedule = DeadlineSchedule::new(micros(init_after), publish_after.map(micros));
        let shared = Shared { start: Instant::now(), schedule: Mutex::new(schedule), changed: Notify::new() };
        DeadlineTracker { shared: Arc::new(shared) }
    }

    /// The width of the PUBLISH buckets of a [`WriteBackSummary`], in microseconds.
    pub fn publish_width_us(&self) -> u64 {
        self.schedule().publish_width_us()
    }

    /// The WAL brought a row that has to be published. It counts until [`settled`](Self::settled) is called with its
    /// bucket.
    pub fn seen(&self, created_at_us: Option<i64>) -> BucketNumber {
        let now_us = self.now_us();
        let (bucket, new) = self.schedule().seen(now_us, CreatedRange::of(created_at_us));
        self.wake_if(new);
        bucket
    }

    /// The state of a row that was seen is durable.
    pub fn settled(&self, bucket: BucketNumber) {
        self.schedule().settled(bucket);
    }

    /// A write-back was committed.
    pub fn written(&self, summary: &WriteBackSummary) {
        let now_us = self.now_us();
        let new = self.schedule().written(now_us, summary);
        self.wake_if(new);
    }

    /// The WAL brought a row that was inserted as PUBLISH.
    pub fn inserted_published(&self, created_at_us: Option<i64>) {
        let now_us = self.now_us();
        let new = self.schedule().inserted_published(now_us, CreatedRange::of(created_at_us));
        self.wake_if(new);
    }

    /// Rows were found in the table that are due after `due_in`.
    pub(crate) fn found(&self, kind: DeadlineKind, due_in: Duration, created: CreatedRange, rows: u64) {
        let due_us = self.now_us().saturating_add(micros(due_in));
        let new = self.schedule().found(kind, Some(due_us), created, rows);
        self.wake_if(new);
    }

    /// See [`DeadlineSchedule::counted_from_us`].
    pub(crate) fn counted_from_us(&self) -> Option<i64> {
        self.schedule().counted_from_us()
    }

    /// Waits until rows are overdue. Cancel-safe.
    pub(crate) async fn overdue(&self) -> OverdueCheck {
        loop {
            let next_us = {
                let now_us = self.now_us();
                let mut schedule = self.schedule();
                if let Some(overdue) = schedule.due(now_us) {
                    return OverdueCheck { tracker: self.clone(), overdue: Some(overdue) };
                }
                schedule.next_due()
            };
            // A change since the lock was released is not missed: `Notify` keeps a permit.
            let changed = self.shared.changed.notified();
            match next_us.and_then(|us| self.shared.start.checked_add(Duration::from_micros(us))) {
                Some(due) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(due) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// Rows that did not come from [`overdue`](Self::overdue) were checked; see [`OverdueCheck::finish`].
    pub(crate) fn checked(
        &self,
        mut overdue: Overdue,
        remaining: u64,
        created: Option<CreatedRange>,
        again_after: Option<Duration>,
    ) {
        overdue.created = created.unwrap_or(overdue.created);
        let now_us = self.now_us();
        self.schedule().checked(now_us, overdue, remaining, again_after.map(micros));
    }

    fn wake_if(&self, new: bool) {
        // Once per bucket.
        if new {
            self.shared.changed.notify_one();
        }
    }

    fn now_us(&self) -> u64 {
        micros(self.shared.start.elapsed())
    }

    fn schedule(&self) -> MutexGuard<'_, DeadlineSchedule> {
        self.shared.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OverdueCheck {
    /// The rows.
    pub(crate) fn overdue(&self) -> Overdue {
        self.overdue.clone().unwrap_or_default()
    }

    /// The rows were checked. `remaining` of them, created within `created`, still wait and are checked again after a
    /// pause that grows with each check, or after `again_after` if that is sooner.
    pub(crate) fn finish(
        mut self,
        remaining: u64,
        created: Option<CreatedRange>,
        again_after: Option<Duration>,
    ) {
        if let Some(overdue) = self.overdue.take() {
            self.tracker.checked(overdue, remaining, created, again_after);
        }
    }
}

impl Drop for OverdueCheck {
    fn drop(&mut self) {
        if let Some(overdue) = self.overdue.take() {
            let now_us = self.tracker.now_us();
            self.tracker.schedule().put_back(now_us, overdue);
        }
    }
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn overdue_returns_a_row_that_never_settles_and_no_settled_row() {
        let tracker = DeadlineTracker::new(MINUTE, Some(5 * MINUTE));
        let start = Instant::now();
        let waiting = tokio::spawn({
            let tracker = tracker.clone();
            async move { tracker.overdue().await.overdue() }
        });
        tokio::time::sleep(MINUTE).await;
        let bucket = tracker.seen(Some(1));
        tracker.settled(bucket);
        tokio::time::sleep(MINUTE).await;
        tracker.seen(Some(7));
        let overdue = waiting.await.expect("it ends");
        assert_eq!((overdue.kind, overdue.rows), (DeadlineKind::Init, 1));
        assert_eq!(overdue.created, CreatedRange { from_us: 7, to_us: 7 });
        assert!(start.elapsed() >= 3 * MINUTE && start.elapsed() < 3 * MINUTE + MINUTE / 8);
    }

    #[tokio::test(start_paused = true)]
    async fn overdue_wakes_up_for_a_deadline_sooner_than_the_one_it_waits_for() {
        let tracker = DeadlineTracker::new(MINUTE, Some(5 * MINUTE));
        tracker.inserted_published(Some(3));
        let waiting = tokio::spawn({
            let tracker = tracker.clone();
            async move {
                let check = tracker.overdue().await;
                let kind = check.overdue().kind;
                check.finish(0, None, None);
                kind
            }
        });
        tokio::time::sleep(MINUTE).await;
        tracker.seen(Some(1));
        assert_eq!(waiting.await.expect("it ends"), DeadlineKind::Init);
        let published = tracker.overdue().await.overdue();
        assert_eq!((published.kind, published.attempted), (DeadlineKind::Publish, None));
    }

    #[tokio::test(start_paused = true)]
    async fn overdue_check_that_is_dropped_unfinished_is_due_again_at_once() {
        let tracker = DeadlineTracker::new(MINUTE, Some(5 * MINUTE));
        tracker.seen(Some(7));
        let first = tracker.overdue().await.overdue();
        let start = Instant::now();
        let check = tracker.overdue().await;
        assert_eq!((check.overdue().created, check.overdue().rows), (first.created, first.rows));
        assert!(start.elapsed() < MINUTE / 4, "{:?}", start.elapsed());
        check.finish(0, None, None);
        assert_eq!(tracker.schedule().next_due(), None);
    }

    // At 90,000 events per second the main loop has 11 µs for each.
    #[test]
    fn seen_and_settled_cost_a_few_microseconds_at_most() {
        const EVENTS: i32 = 10_000;
        let tracker = DeadlineTracker::new(MINUTE, Some(5 * MINUTE));
        // The fastest of several batches, because other processes may occupy the processor.
        let fastest = (0..100).map(|_| {
            let start = std::time::Instant::now();
            for n in 0..EVENTS {
                let bucket = tracker.seen(Some(n.into()));
                tracker.settled(bucket);
            }
            start.elapsed()
        });
        let per_event = fastest.min().expect("a batch") / EVENTS.unsigned_abs();
        println!("{per_event:?} per event");
        assert!(per_event < Duration::from_micros(5), "{per_event:?}");
    }
}
