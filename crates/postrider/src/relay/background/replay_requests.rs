//! Requests that the log announces, on their way to who carries them out.

use std::sync::Arc;

use outbox::Lsn;
use reconciler::{Announced, Missed, ReplayCounts, Told, parse_announcement};
use tokio::sync::mpsc;
use tracing::warn;

/// The prefix of messages that announce a request.
const PREFIX: &[u8] = b"postrider.replay";

/// Takes announcements off the stream, without ever waiting. Any role may emit such messages, so none of them is
/// worth more than a place in a bounded queue: what finds it full is found in the table of requests instead.
pub(crate) struct Announcements {
    to_executor: mpsc::Sender<Announced>,
    /// Those that found the queue full, to be looked for in the table once there is room to say so.
    missed: Option<Missed>,
    counts: Arc<ReplayCounts>,
}

impl Announcements {
    pub(crate) fn new(to_executor: mpsc::Sender<Announced>, counts: Arc<ReplayCounts>) -> Self {
        Announcements { to_executor, missed: None, counts }
    }

    /// A transactional message of the stream.
    pub(crate) fn take(&mut self, prefix: &[u8], content: &[u8], xid: u32, final_lsn: Lsn) {
        if prefix != PREFIX {
            return;
        }
        match parse_announcement(content) {
            Ok(id) => self.announce(Told { id, xid: Some(xid), lsn: final_lsn }),
            Err(error) => {
                if let Some(messages) = self.counts.count_malformed() {
                    warn!(
                        messages,
                        "logical messages postrider.replay announce no request; ignored. The last: {error}"
                    );
                }
            }
        }
    }

    /// Tries again what found the queue full.
    pub(crate) fn flush(&mut self) {
        if let Some(missed) = self.missed.take() {
            self.send(Announced::Missed(missed));
        }
    }

    fn announce(&mut self, told: Told) {
        let announced = match self.missed.take() {
            None => Announced::Request(told),
            Some(missed) => Announced::Missed(missed.and(Missed::of(&told))),
        };
        self.send(announced);
    }

    fn send(&mut self, announced: Announced) {
        use mpsc::error::TrySendError;
        if let Err(TrySendError::Full(announced)) = self.to_executor.try_send(announced) {
            self.missed = Some(match announced {
                Announced::Request(told) => Missed::of(&told),
                Announced::Missed(missed) => missed,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn take(announcements: &mut Announcements, number: u32) {
        let id = Uuid::from_u128(number.into()).to_string();
        announcements.take(PREFIX, id.as_bytes(), number, Lsn::from_u64(number.into()));
    }

    fn request(number: u32) -> Announced {
        let lsn = Lsn::from_u64(number.into());
        Announced::Request(Told { id: Uuid::from_u128(number.into()), xid: Some(number), lsn })
    }

    #[test]
    fn what_finds_the_queue_full_is_told_of_together_once_there_is_room() {
        let (sender, mut receiver) = mpsc::channel(2);
        let mut announcements = Announcements::new(sender, Arc::default());
        for number in 1..=5 {
            take(&mut announcements, number);
        }
        announcements.flush();
        assert_eq!([receiver.try_recv(), receiver.try_recv()], [Ok(request(1)), Ok(request(2))]);
        assert!(receiver.try_recv().is_err());
        announcements.flush();
        take(&mut announcements, 6);
        let missed = Missed { lsn: Lsn::from_u64(5), xids: Some((3, 5)) };
        assert_eq!(
            [receiver.try_recv(), receiver.try_recv()],
            [Ok(Announced::Missed(missed)), Ok(request(6))]
        );
    }
}
