//! The deadline bucket of each in-flight event.

use outbox::Token;
use reconciler::{BucketNumber, DeadlineTracker};

/// By token, the bucket that an event entered when it was admitted. Tokens are reused, so this is as long as the
/// most events ever in flight.
pub(crate) struct DeadlineBuckets {
    by_token: Vec<Option<BucketNumber>>,
    tracker: DeadlineTracker,
}

impl DeadlineBuckets {
    pub(crate) fn new(tracker: DeadlineTracker) -> Self {
        DeadlineBuckets { by_token: Vec::new(), tracker }
    }

    pub(crate) fn enter(&mut self, token: Token, created_at_us: Option<i64>) {
        let index = token.to_usize();
        if self.by_token.len() <= index {
            self.by_token.resize(index + 1, None);
        }
        self.by_token[index] = Some(self.tracker.seen(created_at_us));
    }

    pub(crate) fn leave(&mut self, token: Token) {
        if let Some(bucket) = self.by_token.get_mut(token.to_usize()).and_then(Option::take) {
            self.tracker.settled(bucket);
        }
    }
}
