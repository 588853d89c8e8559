//! Delivery reports on their way from the producer's thread to the pump.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::publish::error::{Report, SinkError, SinkErrorKind};

/// Reports that have not been taken yet. Never more than there are records in flight.
#[derive(Debug)]
pub(crate) struct Inbox {
    content: Mutex<Content>,
    filled: Notify,
    is_broken: AtomicBool,
}

#[derive(Debug, Default)]
struct Content {
    reports: Vec<Report>,
    /// Of the records of `reports`, together.
    value_bytes: usize,
    /// Reports that are held back for a whole turn of the producer's thread, those of the turn before, and
    /// the bytes of the values of both.
    held: Vec<Report>,
    held_longer: Vec<Report>,
    held_bytes: usize,
    broken: Option<SinkError>,
    /// Whether no report is to come any more, once it is broken.
    settled: bool,
    /// Of which topics a record has been acknowledged, by librdkafka's own handle, so that no report has to
    /// look at a name. `last` spares most of them the look into the map.
    topics: HashMap<usize, Box<str>>,
    last: usize,
}

/// Says that no report will come any more, once it is dropped, in whichever way its thread ends.
pub(crate) struct Sender<'i>(&'i Inbox);

impl Inbox {
    pub(crate) fn new(reports_max: usize) -> Self {
        // The first bursts need no growth; a bound set very high costs no memory up front.
        let reports = Vec::with_capacity(reports_max.min(1024));
        let content = Mutex::new(Content { reports, ..Content::default() });
        Inbox { content, filled: Notify::new(), is_broken: AtomicBool::new(false) }
    }

    /// A record of the topic with this handle and name was acknowledged.
    pub(crate) fn acknowledged<'n>(
        &self,
        report: Report,
        value_bytes: usize,
        topic: usize,
        name: impl FnOnce() -> &'n str,
    ) {
        let mut content = self.lock();
        if content.last != topic {
            content.last = topic;
            content.topics.entry(topic).or_insert_with(|| name().into());
        }
        self.put(content, report, value_bytes);
    }

    /// A record was not stored. What is but the aftermath of another's failure is held back for a turn, so
    /// that the cause is handed out first.
    pub(crate) fn failed(&self, report: Report, value_bytes: usize, is_aftermath: bool) {
        let mut content = self.lock();
        if is_aftermath {
            content.held.push(report);
            content.held_bytes += value_bytes;
        } else {
            self.put(content, report, value_bytes);
        }
    }

    /// A turn of the producer's thread is over.
    pub(crate) fn turn(&self) {
        let mut content = self.lock();
        let content = &mut *content;
        if content.held.is_empty() && content.held_longer.is_empty() {
            return;
        }
        content.reports.append(&mut content.held_longer);
        std::mem::swap(&mut content.held, &mut content.held_longer);
        if content.held_longer.is_empty() {
            content.value_bytes += std::mem::take(&mut content.held_bytes);
        }
        self.filled.notify_one();
    }

    /// Whether a record of this topic has been acknowledged.
    pub(crate) fn knows(&self, topic: &str) -> bool {
        self.lock().topics.values().any(|known| &**known == topic)
    }

    /// The producer is of no use any more. The first reason stays.
    pub(crate) fn broke(&self, error: SinkError) {
        self.lock().broken.get_or_insert(error);
        self.is_broken.store(true, Ordering::Release);
    }

    /// No report will come any more.
    pub(crate) fn settled(&self) {
        self.lock().settled = true;
        self.filled.notify_one();
    }

    /// Whether the producer is of no use any more; takes no lock.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Acquire)
    }

    /// The reason why the producer is of no use any more.
    pub(crate) fn broken(&self) -> Option<SinkError> {
        self.lock().broken.clone()
    }

    /// For the thread on which reports come in.
    pub(crate) fn sender(&self) -> Sender<'_> {
        Sender(self)
    }

    /// Waits for a report, and appends all there are; returns the bytes of their records' values. Reports that
    /// came before the producer broke are taken first. Cancel-safe.
    pub(crate) async fn take(&self, into: &mut Vec<Report>) -> Result<usize, SinkError> {
        loop {
            {
                let mut content = self.lock();
                if !content.reports.is_empty() {
                    if into.is_empty() {
                        // The two buffers take turns, so that neither is copied nor allocated anew.
                        std::mem::swap(into, &mut content.reports);
                    } else {
                        into.append(&mut content.reports);
                    }
                    return Ok(std::mem::take(&mut content.value_bytes));
                }
                let is_holding = !content.held.is_empty() || !content.held_longer.is_empty();
                if let Some(error) = content.broken.as_ref().filter(|_| content.settled && !is_holding) {
                    return Err(error.clone());
                }
            }
            self.filled.notified().await;
        }
    }

    fn put(&self, mut content: MutexGuard<'_, Content>, report: Report, value_bytes: usize) {
        let was_empty = content.reports.is_empty();
        content.value_bytes += value_bytes;
        content.reports.push(report);
        drop(content);
        if was_empty {
            self.filled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sender<'_> {
    fn drop(&mut self) {
        // What is held back is let go: there is no further turn.
        self.0.turn();
        self.0.turn();
        self.0.broke(SinkErrorKind::Gone.into());
        self.0.settled();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use outbox::Token;

    use super::*;
    use crate::publish::error::PartitionOffset;

    fn report(number: usize) -> Report {
        Report { token: Token::from_usize(number), outcome: Ok(PartitionOffset { partition: 0, offset: 0 }) }
    }

    fn tokens(reports: &[Report]) -> Vec<usize> {
        reports.iter().map(|report| report.token.to_usize()).collect()
    }

    #[tokio::test]
    async fn reports_come_in_order_and_all_at_once() {
        let inbox = Inbox::new(8);
        let mut reports = vec![report(9)];
        for number in 0..3 {
            inbox.acknowledged(report(number), 10, 1, || "orders");
        }
        assert_eq!(inbox.take(&mut reports).await.unwrap(), 30);
        assert_eq!(tokens(&reports), [9, 0, 1, 2]);
    }

    #[tokio::test]
    async fn a_wait_given_up_loses_nothing() {
        let inbox = Inbox::new(8);
        let mut reports = Vec::new();
        {
            let mut waiting = Box::pin(inbox.take(&mut reports));
            tokio::select! {
                biased;
                _ = &mut waiting => panic!("nothing was reported"),
                () = std::future::ready(()) => {}
            }
            inbox.failed(report(1), 10, false);
        }
        inbox.take(&mut reports).await.unwrap();
        assert_eq!(tokens(&reports), [1]);
    }

    #[tokio::test]
    async fn a_thread_that_ends_in_whatever_way_ends_the_wait_with_an_error() {
        for panics in [false, true] {
            let inbox = Arc::new(Inbox::new(8));
            let thread = thread::spawn({
                let inbox = Arc::clone(&inbox);
                move || {
                    let _sender = inbox.sender();
                    inbox.acknowledged(report(1), 10, 1, || "orders");
                    assert!(!panics, "on purpose");
                }
            });
            let mut reports = Vec::new();
            while inbox.take(&mut reports).await.is_ok() {}
            assert_eq!(tokens(&reports), [1]);
            assert_eq!(inbox.take(&mut reports).await.unwrap_err(), SinkErrorKind::Gone.into());
            assert_eq!(thread.join().is_err(), panics);
        }
    }

    #[tokio::test]
    async fn an_aftermath_is_handed_out_behind_its_cause_and_before_the_end() {
        let inbox = Inbox::new(8);
        let mut reports = Vec::new();
        inbox.failed(report(2), 10, true);
        inbox.turn();
        inbox.failed(report(1), 10, false);
        inbox.broke(SinkErrorKind::Gone.into());
        inbox.settled();
        assert_eq!(inbox.take(&mut reports).await.unwrap(), 10);
        inbox.turn();
        assert_eq!(inbox.take(&mut reports).await.unwrap(), 10);
        assert_eq!(tokens(&reports), [1, 2]);
        inbox.failed(report(3), 10, true);
        drop(inbox.sender());
        inbox.take(&mut reports).await.unwrap();
        assert_eq!(tokens(&reports), [1, 2, 3]);
        assert!(inbox.take(&mut reports).await.is_err());
    }

    #[tokio::test]
    async fn the_first_reason_stays() {
        let inbox = Inbox::new(8);
        let first = SinkError::from(SinkErrorKind::NotMade("first".to_owned()));
        inbox.broke(first.clone());
        drop(inbox.sender());
        assert_eq!(inbox.take(&mut Vec::new()).await.unwrap_err(), first);
    }

    #[test]
    fn topics_with_an_acknowledged_record_are_known() {
        let inbox = Inbox::new(8);
        for (topic, name) in [(1, "orders"), (2, "payments"), (1, "orders"), (1, "orders")] {
            inbox.acknowledged(report(0), 10, topic, || name);
        }
        assert!(inbox.knows("orders") && inbox.knows("payments") && !inbox.knows("refunds"));
    }
}
