//! The deadlines, shared by the pump, which counts, and the reconciler, which waits for them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outbox::{CreatedRange, WriteBackSummary};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::deadlines::schedule::{BucketNumber, Deadlines, Kind, Overdue};

/// The account of all rows that wait, for one life of the relay. Clones share it.
///
/// An event costs two short locks and a look at the clock; what is in it takes memory by the bucket, not by the row.
#[derive(Clone, Debug)]
pub struct Account {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    deadlines: Mutex<Deadlines>,
    changed: Notify,
}

impl Account {
    /// With nothing in it. `publish_after` is `None` where nobody follows rows beyond PUBLISH.
    pub fn new(init_after: Duration, publish_after: Option<Duration>) -> Self {
        let deadlines = Deadlines::new(micros(init_after), publish_after.map(micros));
        let (deadlines, changed) = (Mutex::new(deadlines), Notify::new());
        Account { shared: Arc::new(Shared { start: Instant::now(), deadlines, changed }) }
    }

    /// The width in microseconds by which a [`WriteBackSummary`] is to name PUBLISH buckets.
    pub fn publish_width_us(&self) -> u64 {
        self.deadlines().publish_width_us()
    }

    /// The log brought a row that is to be published. It waits until its bucket is told that it is settled.
    pub fn seen(&self, created_at_us: Option<i64>) -> BucketNumber {
        let now_us = self.now_us();
        let (bucket, new) = self.deadlines().seen(now_us, CreatedRange::of(created_at_us));
        self.wake_if(new);
        bucket
    }

    /// A row that was seen is durably written, or set aside.
    pub fn settled(&self, bucket: BucketNumber) {
        self.deadlines().settled(bucket);
    }

    /// A write-back was committed.
    pub fn written(&self, summary: &WriteBackSummary) {
        let now_us = self.now_us();
        let new = self.deadlines().written(now_us, summary);
        self.wake_if(new);
    }

    /// The log brought a row that says PUBLISH already.
    pub fn inserted_published(&self, created_at_us: Option<i64>) {
        let now_us = self.now_us();
        let new = self.deadlines().inserted_published(now_us, CreatedRange::of(created_at_us));
        self.wake_if(new);
    }

    /// Rows were found in the table whose time is not over for this long.
    pub(crate) fn found(&self, kind: Kind, due_in: Duration, created: CreatedRange, rows: u64) {
        let due_us = self.now_us().saturating_add(micros(due_in));
        let new = self.deadlines().found(kind, Some(due_us), created, rows);
        self.wake_if(new);
    }

    /// See [`Deadlines::counted_from_us`].
    pub(crate) fn counted_from_us(&self) -> Option<i64> {
        self.deadlines().counted_from_us()
    }

    /// Waits until something is overdue. Cancel-safe.
    pub(crate) async fn overdue(&self) -> Overdue {
        loop {
            let next_us = {
                let now_us = self.now_us();
                let mut deadlines = self.deadlines();
                if let Some(overdue) = deadlines.due(now_us) {
                    return overdue;
                }
                deadlines.next_due()
            };
            // What changed since is not missed: a permit is kept.
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

    /// What was overdue was looked at; this many of its rows wait on.
    pub(crate) fn judged(&self, overdue: Overdue, remaining: u64, again_after: Option<Duration>) {
        let now_us = self.now_us();
        self.deadlines().judged(now_us, overdue, remaining, again_after.map(micros));
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

    fn deadlines(&self) -> MutexGuard<'_, Deadlines> {
        self.shared.deadlines.lock().unwrap_or_else(PoisonError::into_inner)
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
    async fn a_row_that_stays_is_overdue_and_one_that_settles_is_not() {
        let account = Account::new(MINUTE, Some(5 * MINUTE));
        let start = Instant::now();
        let waiting = tokio::spawn({
            let account = account.clone();
            async move { account.overdue().await }
        });
        tokio::time::sleep(MINUTE).await;
        let bucket = account.seen(Some(1));
        account.settled(bucket);
        tokio::time::sleep(MINUTE).await;
        account.seen(Some(7));
        let overdue = waiting.await.expect("it ends");
        assert_eq!((overdue.kind, overdue.rows), (Kind::Init, 1));
        assert_eq!(overdue.created, CreatedRange { from_us: 7, to_us: 7 });
        assert!(start.elapsed() >= 3 * MINUTE && start.elapsed() < 3 * MINUTE + MINUTE / 8);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_on_is_not_waited_for_when_something_else_is_sooner() {
        let account = Account::new(MINUTE, Some(5 * MINUTE));
        account.inserted_published(Some(3));
        let waiting = tokio::spawn({
            let account = account.clone();
            async move { account.overdue().await }
        });
        tokio::time::sleep(MINUTE).await;
        account.seen(Some(1));
        assert_eq!(waiting.await.expect("it ends").kind, Kind::Init);
        let published = account.overdue().await;
        assert_eq!((published.kind, published.attempted), (Kind::Publish, None));
    }

    // The pump has 11 µs for an event at 90,000 of them a second.
    #[test]
    fn an_event_costs_next_to_nothing() {
        let account = Account::new(MINUTE, Some(5 * MINUTE));
        let start = std::time::Instant::now();
        for n in 0..1_000_000 {
            let bucket = account.seen(Some(n));
            account.settled(bucket);
        }
        println!("{} ns per event", start.elapsed().as_nanos() / 1_000_000);
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
