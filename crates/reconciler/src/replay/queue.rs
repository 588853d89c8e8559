use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use super::Announced;

/// Any role may announce, and nobody is to fill the memory with it: what is beyond this is looked for in the table.
const ANNOUNCED_MAX: usize = 1000;

/// What is to be carried out, in order. The announcements of the log are taken at any time, so that whoever reads the
/// log never waits for a replay.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Next>,
    overflowed: bool,
    closed: bool,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A request that the table has.
    Known(Uuid),
    Announced(Announced),
    /// To look into the table for those that were too many to be remembered.
    Reload,
}

impl Queue {
    /// Takes announcements for ever.
    pub(super) async fn collect<T>(&self, mut announced: mpsc::Receiver<Announced>) -> T {
        while let Some(announced) = announced.recv().await {
            self.push(Next::Announced(announced));
        }
        self.state().closed = true;
        self.changed.notify_one();
        std::future::pending().await
    }

    pub(super) fn push(&self, next: Next) {
        let mut state = self.state();
        if state.waiting.len() < ANNOUNCED_MAX {
            state.waiting.push_back(next);
        } else {
            state.overflowed = true;
        }
        self.changed.notify_one();
    }

    /// Waits for the next; `None` when there is none and nobody announces any more. For one waiter.
    pub(super) async fn next(&self) -> Option<Next> {
        loop {
            {
                let mut state = self.state();
                if let Some(next) = state.waiting.pop_front() {
                    return Some(next);
                }
                if std::mem::take(&mut state.overflowed) {
                    return Some(Next::Reload);
                }
                if state.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_too_much_is_looked_for_afterwards() {
        let queue = Queue::default();
        let ids = (0..ANNOUNCED_MAX as u128 + 5).map(Uuid::from_u128);
        for id in ids.clone() {
            queue.push(Next::Known(id));
        }
        for id in ids.take(ANNOUNCED_MAX) {
            assert_eq!(queue.next().await, Some(Next::Known(id)));
        }
        assert_eq!(queue.next().await, Some(Next::Reload));
        let (sender, receiver) = mpsc::channel(1);
        drop(sender);
        tokio::select! {
            next = queue.next() => assert_eq!(next, None),
            () = queue.collect(receiver) => {}
        }
    }
}
