//! Delivery reports, from the producer's thread to the relay.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::publish::delivery_report::DeliveryReport;
use crate::publish::error::{SinkError, SinkErrorKind};

/// Reports that were not taken yet. Never more than there are records in flight.
#[derive(Debug)]
pub(crate) struct DeliveryReports {
    queue: Mutex<ReportQueue>,
    added: Notify,
    has_failed: AtomicBool,
}

#[derive(Debug, Default)]
struct ReportQueue {
    reports: Vec<DeliveryReport>,
    /// The bytes of the values of their records.
    value_bytes: usize,
    /// Reports that are delayed until the next poll of the producer, those of the poll before, and the bytes of both.
    delayed: Vec<DeliveryReport>,
    delayed_before: Vec<DeliveryReport>,
    delayed_bytes: usize,
    failure: Option<SinkError>,
    /// Whether no report will arrive after a failure.
    is_settled: bool,
    /// The topics with an acknowledged record, by librdkafka's handle, so that no report compares names. `last` spares
    /// most reports the lookup.
    topics: HashMap<usize, Box<str>>,
    last: usize,
}

/// Marks the end of the reports when the producer's thread ends, also by a panic.
pub(crate) struct EndOnDrop<'r>(&'r DeliveryReports);

impl DeliveryReports {
    pub(crate) fn new(reports_max: usize) -> Self {
        // Enough for the first bursts; a high limit costs no memory up front.
        let reports = Vec::with_capacity(reports_max.min(1024));
        let queue = Mutex::new(ReportQueue { reports, ..ReportQueue::default() });
        DeliveryReports { queue, added: Notify::new(), has_failed: AtomicBool::new(false) }
    }

    /// A record of the topic with this handle and name was acknowledged.
    pub(crate) fn delivered<'n>(
        &self,
        report: DeliveryReport,
        value_bytes: usize,
        topic: usize,
        name: impl FnOnce() -> &'n str,
    ) {
        let mut queue = self.lock();
        if queue.last != topic {
            queue.last = topic;
            queue.topics.entry(topic).or_insert_with(|| name().into());
        }
        self.add(queue, report, value_bytes);
    }

    /// A record was not delivered. A failure that is the consequence of another record's failure is delayed until the
    /// next poll, so that its cause is reported first.
    pub(crate) fn failed(&self, report: DeliveryReport, value_bytes: usize, is_consequence: bool) {
        let mut queue = self.lock();
        if is_consequence {
            queue.delayed.push(report);
            queue.delayed_bytes += value_bytes;
        } else {
            self.add(queue, report, value_bytes);
        }
    }

    /// The producer was polled.
    pub(crate) fn polled(&self) {
        let mut queue = self.lock();
        let queue = &mut *queue;
        if queue.delayed.is_empty() && queue.delayed_before.is_empty() {
            return;
        }
        queue.reports.append(&mut queue.delayed_before);
        std::mem::swap(&mut queue.delayed, &mut queue.delayed_before);
        if queue.delayed_before.is_empty() {
            queue.value_bytes += std::mem::take(&mut queue.delayed_bytes);
        }
        self.added.notify_one();
    }

    /// Whether a record of this topic has been acknowledged.
    pub(crate) fn has_delivered_to(&self, topic: &str) -> bool {
        self.lock().topics.values().any(|known| &**known == topic)
    }

    /// The producer has failed. The first error is kept.
    pub(crate) fn fail(&self, error: SinkError) {
        self.lock().failure.get_or_insert(error);
        self.has_failed.store(true, Ordering::Release);
    }

    /// No further report will arrive.
    pub(crate) fn settle(&self) {
        self.lock().is_settled = true;
        self.added.notify_one();
    }

    /// Whether the producer has failed; takes no lock.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Why the producer has failed, if it has.
    pub(crate) fn failure(&self) -> Option<SinkError> {
        self.lock().failure.clone()
    }

    /// For the producer's thread.
    pub(crate) fn end_on_drop(&self) -> EndOnDrop<'_> {
        EndOnDrop(self)
    }

    /// Waits for a report and appends all that are there; returns the bytes of their records' values. Reports that
    /// arrived before the producer failed come first. Cancel-safe.
    pub(crate) async fn take(&self, into: &mut Vec<DeliveryReport>) -> Result<usize, SinkError> {
        loop {
            {
                let mut queue = self.lock();
                if !queue.reports.is_empty() {
                    if into.is_empty() {
                        // The buffers are swapped, so that neither is copied or reallocated.
                        std::mem::swap(into, &mut queue.reports);
                    } else {
                        into.append(&mut queue.reports);
                    }
                    return Ok(std::mem::take(&mut queue.value_bytes));
                }
                let has_delayed = !queue.delayed.is_empty() || !queue.delayed_before.is_empty();
                if let Some(error) = queue.failure.as_ref().filter(|_| queue.is_settled && !has_delayed) {
                    return Err(error.clone());
                }
            }
            self.added.notified().await;
        }
    }

    fn add(&self, mut queue: MutexGuard<'_, ReportQueue>, report: DeliveryReport, value_bytes: usize) {
        let was_empty = queue.reports.is_empty();
        queue.value_bytes += value_bytes;
        queue.reports.push(report);
        drop(queue);
        if was_empty {
            self.added.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, ReportQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        // Releases the delayed reports: there is no further poll.
        self.0.polled();
        self.0.polled();
        self.0.fail(SinkErrorKind::ThreadEnded.into());
        self.0.settle();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use outbox::Token;

    use super::*;
    use crate::publish::delivery_report::PartitionOffset;

    fn report(number: usize) -> DeliveryReport {
        DeliveryReport {
            token: Token::from_usize(number),
            outcome: Ok(PartitionOffset { partition: 0, offset: 0 }),
        }
    }

    fn tokens(reports: &[DeliveryReport]) -> Vec<usize> {
        reports.iter().map(|report| report.token.to_usize()).collect()
    }

    #[tokio::test]
    async fn take_appends_all_reports_in_order() {
        let queue = DeliveryReports::new(8);
        let mut reports = vec![report(9)];
        for number in 0..3 {
            queue.delivered(report(number), 10, 1, || "orders");
        }
        assert_eq!(queue.take(&mut reports).await.unwrap(), 30);
        assert_eq!(tokens(&reports), [9, 0, 1, 2]);
    }

    #[tokio::test]
    async fn take_is_cancel_safe() {
        let queue = DeliveryReports::new(8);
        let mut reports = Vec::new();
        {
            let mut waiting = Box::pin(queue.take(&mut reports));
            tokio::select! {
                biased;
                _ = &mut waiting => panic!("nothing was reported"),
                () = std::future::ready(()) => {}
            }
            queue.failed(report(1), 10, false);
        }
        queue.take(&mut reports).await.unwrap();
        assert_eq!(tokens(&reports), [1]);
    }

    #[tokio::test]
    async fn take_fails_when_the_thread_ends_or_panics() {
        for panics in [false, true] {
            let queue = Arc::new(DeliveryReports::new(8));
            let thread = thread::spawn({
                let queue = Arc::clone(&queue);
                move || {
                    let _end = queue.end_on_drop();
                    queue.delivered(report(1), 10, 1, || "orders");
                    assert!(!panics, "as the test requires");
                }
            });
            let mut reports = Vec::new();
            while queue.take(&mut reports).await.is_ok() {}
            assert_eq!(tokens(&reports), [1]);
            assert_eq!(queue.take(&mut reports).await.unwrap_err(), SinkErrorKind::ThreadEnded.into());
            assert_eq!(thread.join().is_err(), panics);
        }
    }

    #[tokio::test]
    async fn consequences_follow_their_cause_and_precede_the_end() {
        let queue = DeliveryReports::new(8);
        let mut reports = Vec::new();
        queue.failed(report(2), 10, true);
        queue.polled();
        queue.failed(report(1), 10, false);
        queue.fail(SinkErrorKind::ThreadEnded.into());
        queue.settle();
        assert_eq!(queue.take(&mut reports).await.unwrap(), 10);
        queue.polled();
        assert_eq!(queue.take(&mut reports).await.unwrap(), 10);
        assert_eq!(tokens(&reports), [1, 2]);
        queue.failed(report(3), 10, true);
        drop(queue.end_on_drop());
        queue.take(&mut reports).await.unwrap();
        assert_eq!(tokens(&reports), [1, 2, 3]);
        assert!(queue.take(&mut reports).await.is_err());
    }

    #[tokio::test]
    async fn first_failure_is_kept() {
        let queue = DeliveryReports::new(8);
        let first = SinkError::from(SinkErrorKind::NotCreated("first".to_owned()));
        queue.fail(first.clone());
        drop(queue.end_on_drop());
        assert_eq!(queue.take(&mut Vec::new()).await.unwrap_err(), first);
    }

    #[test]
    fn has_delivered_to_acknowledged_topics() {
        let queue = DeliveryReports::new(8);
        for (topic, name) in [(1, "orders"), (2, "payments"), (1, "orders"), (1, "orders")] {
            queue.delivered(report(0), 10, topic, || name);
        }
        assert!(
            queue.has_delivered_to("orders")
                && queue.has_delivered_to("payments")
                && !queue.has_delivered_to("refunds")
        );
    }
}
