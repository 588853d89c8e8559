use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use crate::replay::notice::{Announced, Missed, Told};

/// Any role may announce, and nobody is to fill the memory with it: what is beyond this is looked for in the table.
pub(super) const ANNOUNCED_MAX: usize = 1000;

/// What has been announced and not looked at, in order. The announcements of the log are taken at any time, so that
/// whoever reads the log never waits for a replay.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    news: News,
    closed: bool,
}

/// What has been announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    pub(super) told: VecDeque<Told>,
    /// Those that were too many to be remembered, all of them after those that were not.
    pub(super) missed: Option<Missed>,
}

impl News {
    pub(super) fn is_empty(&self) -> bool {
        self.told.is_empty() && self.missed.is_none()
    }

    pub(super) fn add(&mut self, announced: Announced) {
        match announced {
            Announced::Request(told) if self.missed.is_none() && self.told.len() < ANNOUNCED_MAX => {
                self.told.push_back(told);
            }
            Announced::Request(told) => self.miss(Missed::of(&told)),
            Announced::Missed(missed) => self.miss(missed),
        }
    }

    fn miss(&mut self, more: Missed) {
        self.missed = Some(self.missed.map_or(more, |missed| missed.and(more)));
    }
}

impl Queue {
    /// Takes announcements for ever.
    pub(super) async fn collect<T>(&self, mut announced: mpsc::Receiver<Announced>) -> T {
        while let Some(announced) = announced.recv().await {
            self.state().news.add(announced);
            self.changed.notify_one();
        }
        self.state().closed = true;
        self.changed.notify_one();
        std::future::pending().await
    }

    /// Waits for news, until `due` at most, and takes all there are; `None` when there are none and nobody announces
    /// any more. For one waiter.
    pub(super) async fn next(&self, due: Option<Instant>) -> Option<News> {
        loop {
            {
                let mut state = self.state();
                if !state.news.is_empty() {
                    return Some(std::mem::take(&mut state.news));
                }
                if state.closed {
                    return None;
                }
            }
            match due {
                None => self.changed.notified().await,
                Some(due) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = sleep_until(due) => return Some(std::mem::take(&mut self.state().news)),
                },
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use outbox::Lsn;
    use uuid::Uuid;

    use super::*;

    fn told(number: usize) -> Told {
        let xid = u32::try_from(number).expect("a small number");
        Told { id: Uuid::from_u128(number as u128), xid: Some(xid), lsn: Lsn::from_u64(number as u64) }
    }

    #[tokio::test]
    async fn what_is_too_much_is_missed_and_where_that_ends_is_known() {
        let queue = Queue::default();
        let (sender, receiver) = mpsc::channel(2 * ANNOUNCED_MAX);
        for number in 0..ANNOUNCED_MAX + 5 {
            sender.try_send(Announced::Request(told(number))).expect("there is room");
        }
        drop(sender);
        tokio::select! {
            biased;
            () = queue.collect(receiver) => {}
            () = async {
                while !queue.state().closed {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
        let news = queue.next(None).await.expect("there are news");
        assert!(news.told.iter().copied().eq((0..ANNOUNCED_MAX).map(told)));
        let (lsn, first, last) =
            (told(ANNOUNCED_MAX + 4).lsn, ANNOUNCED_MAX as u32, ANNOUNCED_MAX as u32 + 4);
        assert_eq!(news.missed, Some(Missed { lsn, xids: Some((first, last)) }));
        assert_eq!(queue.next(None).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn without_news_the_wait_is_over_when_it_is_due() {
        let queue = Queue::default();
        let due = Instant::now() + std::time::Duration::from_secs(1);
        assert_eq!(queue.next(Some(due)).await, Some(News::default()));
    }
}
