use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::replay::notice::{CoalescedNotices, ReplayNotice};

/// Requests that are read from the WAL while another one is executed, which may take hours.
const NOTICES_MAX: usize = 1000;

/// A queue of replay requests, from the loop that reads the WAL to [`execute_replays`](crate::execute_replays).
pub fn replay_notices() -> (ReplayNotifier, ReplayNotices) {
    let shared = Arc::new(Shared::default());
    (ReplayNotifier { shared: Arc::clone(&shared) }, ReplayNotices { shared })
}

/// The sending end. Dropping it ends the execution of replays after those in the queue.
#[derive(Debug)]
pub struct ReplayNotifier {
    shared: Arc<Shared>,
}

/// The receiving end.
#[derive(Debug)]
pub struct ReplayNotices {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<QueueState>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct QueueState {
    notices: VecDeque<ReplayNotice>,
    /// Requests that found the queue full. All of them follow those in the queue.
    overflow: Option<CoalescedNotices>,
    closed: bool,
}

/// What is executed next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextNotice {
    Request(ReplayNotice),
    /// Requests that have to be read from the table.
    Overflow(CoalescedNotices),
}

impl ReplayNotifier {
    /// Adds a request. Never blocks: beyond the capacity of the queue only the position and the range of transactions
    /// are kept, and the requests are read from the table.
    pub fn notify(&self, notice: ReplayNotice) {
        {
            let mut state = self.shared.state();
            match state.overflow {
                None if state.notices.len() < NOTICES_MAX => state.notices.push_back(notice),
                None => state.overflow = Some(notice.into()),
                Some(overflow) => state.overflow = Some(overflow.merge(notice.into())),
            }
        }
        self.shared.changed.notify_one();
    }
}

impl Drop for ReplayNotifier {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.changed.notify_one();
    }
}

impl ReplayNotices {
    /// Waits for the next request; `None` once the sending end is dropped and the queue is empty. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<NextNotice> {
        loop {
            {
                let mut state = self.shared.state();
                if let Some(notice) = state.notices.pop_front() {
                    return Some(NextNotice::Request(notice));
                }
                if let Some(overflow) = state.overflow.take() {
                    return Some(NextNotice::Overflow(overflow));
                }
                if state.closed {
                    return None;
                }
            }
            self.shared.changed.notified().await;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use outbox::Lsn;
    use uuid::Uuid;

    use super::*;

    fn notice(number: usize) -> ReplayNotice {
        let xid = u32::try_from(number).expect("a small number");
        ReplayNotice { id: Uuid::from_u128(number as u128), xid, commit_lsn: Lsn::from_u64(number as u64) }
    }

    #[tokio::test]
    async fn notices_beyond_the_capacity_are_coalesced_behind_the_queue() {
        let (notifier, mut notices) = replay_notices();
        for number in 0..NOTICES_MAX + 5 {
            notifier.notify(notice(number));
        }
        assert_eq!(notices.next().await, Some(NextNotice::Request(notice(0))));
        // There is room again, but the order of requests is kept.
        notifier.notify(notice(NOTICES_MAX + 5));
        for number in 1..NOTICES_MAX {
            assert_eq!(notices.next().await, Some(NextNotice::Request(notice(number))));
        }
        let overflow = CoalescedNotices::from(notice(NOTICES_MAX)).merge(notice(NOTICES_MAX + 5).into());
        assert_eq!(notices.next().await, Some(NextNotice::Overflow(overflow)));
        notifier.notify(notice(1));
        drop(notifier);
        assert_eq!(notices.next().await, Some(NextNotice::Request(notice(1))));
        assert_eq!(notices.next().await, None);
    }
}
