//! In which deadline's bucket each event in flight counts.

use outbox::Token;
use reconciler::{BucketNumber, DeadlineTracker};

/// By token, the bucket an event entered when it was admitted. Tokens are used again, so this is as long as the
/// most events ever in flight.
pub(crate) struct Buckets {
    by_token: Vec<Option<BucketNumber>>,
    deadlines: DeadlineTracker,
}

impl Buckets {
    pub(crate) fn new(deadlines: DeadlineTracker) -> Self {
        Buckets { by_token: Vec::new(), deadlines }
    }

    pub(crate) fn enters(&mut self, token: Token, created_at_us: Option<i64>) {
        let index = token.to_usize();
        if self.by_token.len() <= index {
            self.by_token.resize(index + 1, None);
        }
        self.by_token[index] = Some(self.deadlines.seen(created_at_us));
    }

    pub(crate) fn leaves(&mut self, token: Token) {
        if let Some(bucket) = self.by_token.get_mut(token.to_usize()).and_then(Option::take) {
            self.deadlines.settled(bucket);
        }
    }
}
