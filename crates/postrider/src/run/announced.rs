//! Requests that the log announces, on their way to who carries them out.

use std::sync::Arc;

use outbox::Lsn;
use reconciler::{Announced, ReplayCounts, parse_announcement};
use tokio::sync::mpsc;
use tracing::warn;

/// The prefix of messages that announce a request.
const PREFIX: &[u8] = b"postrider.replay";

/// Takes announcements off the stream, without ever waiting. Any role may emit such messages, so none of them is
/// worth more than a place in a bounded queue: what finds it full is found in the table of requests instead.
pub(super) struct Announcements {
    to_executor: mpsc::Sender<Announced>,
    /// The last one that found the queue full.
    left: Option<Announced>,
    counts: Arc<ReplayCounts>,
}

impl Announcements {
    pub(super) fn new(to_executor: mpsc::Sender<Announced>, counts: Arc<ReplayCounts>) -> Self {
        Announcements { to_executor, left: None, counts }
    }

    /// A transactional message of the stream.
    pub(super) fn take(&mut self, prefix: &[u8], content: &[u8], xid: u32, final_lsn: Lsn) {
        if prefix != PREFIX {
            return;
        }
        match parse_announcement(content) {
            Ok(id) => self.announce(Announced { id, xid: Some(xid), lsn: final_lsn }),
            Err(error) => {
                self.counts.count_malformed();
                let malformed = self.counts.malformed();
                warn!(malformed, "a logical message postrider.replay announces no request: {error}; ignored");
            }
        }
    }

    /// Tries again what found the queue full.
    pub(super) fn flush(&mut self) {
        if let Some(left) = self.left.take() {
            self.announce(left);
        }
    }

    fn announce(&mut self, announced: Announced) {
        use mpsc::error::TrySendError;
        if let Err(TrySendError::Full(announced)) = self.to_executor.try_send(announced) {
            self.left = Some(announced);
        }
    }
}
