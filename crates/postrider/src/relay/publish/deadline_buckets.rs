//! In which deadline's bucket each event in flight counts.

use outbox::Token;
use reconciler::{Account, BucketNumber};

/// By token, the bucket an event entered when it was admitted. Tokens are used again, so this is as long as the
/// most events ever in flight.
pub(crate) struct Buckets {
    by_token: Vec<Option<BucketNumber>>,
    account: Account,
}

impl Buckets {
    pub(crate) fn new(account: Account) -> Self {
        Buckets { by_token: Vec::new(), account }
    }

    pub(crate) fn enters(&mut self, token: Token, created_at_us: Option<i64>) {
        let index = token.to_usize();
        if self.by_token.len() <= index {
            self.by_token.resize(index + 1, None);
        }
        self.by_token[index] = Some(self.account.seen(created_at_us));
    }

    pub(crate) fn leaves(&mut self, token: Token) {
        if let Some(bucket) = self.by_token.get_mut(token.to_usize()).and_then(Option::take) {
            self.account.settled(bucket);
        }
    }
}
