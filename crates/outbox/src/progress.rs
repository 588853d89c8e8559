//! The position up to which the slot may be confirmed.

use std::collections::BTreeMap;

use crate::lsn::Lsn;

/// A transaction, numbered in commit order, which is the order of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transaction(u64);

/// Computes the confirmable position: the end of the longest prefix of transactions whose every event is settled.
///
/// An event is *settled* when a crash can no longer lose it. Memory is used by transactions with unsettled events only:
/// transactions that settle behind an unsettled one are folded into it.
#[derive(Clone, Debug)]
pub struct Progress {
    confirmable: Lsn,
    next: u64,
    open: Option<Transaction>,
    unsettled: BTreeMap<Transaction, Unsettled>,
}

#[derive(Clone, Debug, Default)]
struct Unsettled {
    events: usize,
    /// The position up to which everything is settled once these events are; `None` while the transaction is open.
    settles: Option<Lsn>,
}

impl Progress {
    /// Starts at the slot's confirmed flush position.
    pub fn new(confirmed: Lsn) -> Self {
        Progress { confirmable: confirmed, next: 0, open: None, unsettled: BTreeMap::new() }
    }

    /// The position up to which the slot may be confirmed. It never decreases.
    pub fn confirmable(&self) -> Lsn {
        self.confirmable
    }

    /// The open transaction.
    pub fn open(&self) -> Option<Transaction> {
        self.open
    }

    /// Whether no transaction is open and every event is settled.
    pub fn is_idle(&self) -> bool {
        self.open.is_none() && self.unsettled.is_empty()
    }

    /// A transaction begins. An open one is dropped, because its commit will not come.
    pub fn begin(&mut self) -> Transaction {
        let transaction = Transaction(self.next);
        self.next += 1;
        self.open = Some(transaction);
        transaction
    }

    /// The transaction has one more unsettled event.
    pub fn event(&mut self, transaction: Transaction) {
        self.unsettled.entry(transaction).or_default().events += 1;
    }

    /// The open transaction ends at `end`, the position after its commit record.
    pub fn commit(&mut self, end: Lsn) {
        let Some(transaction) = self.open.take() else { return };
        match self.unsettled.get_mut(&transaction) {
            Some(unsettled) => unsettled.settles = Some(end),
            None => self.settled_through(transaction, end),
        }
    }

    /// One event of the transaction is settled.
    pub fn settle(&mut self, transaction: Transaction) {
        let Some(unsettled) = self.unsettled.get_mut(&transaction) else { return };
        unsettled.events -= 1;
        if unsettled.events > 0 {
            return;
        }
        let settles = unsettled.settles;
        self.unsettled.remove(&transaction);
        if let Some(end) = settles {
            self.settled_through(transaction, end);
        }
    }

    /// The server has sent everything before `end`. This advances the confirmable position only while nothing is in
    /// flight: what was sent is not yet delivered.
    pub fn keepalive(&mut self, end: Lsn) {
        if self.is_idle() {
            self.confirmable = self.confirmable.max(end);
        }
    }

    fn settled_through(&mut self, transaction: Transaction, end: Lsn) {
        match self.unsettled.range_mut(..transaction).next_back() {
            Some((_, earlier)) => earlier.settles = earlier.settles.max(Some(end)),
            None => self.confirmable = self.confirmable.max(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lsn(position: u64) -> Lsn {
        Lsn::from_u64(position)
    }

    #[test]
    fn progress_ignores_a_keepalive_in_an_open_transaction() {
        let mut progress = Progress::new(lsn(10));
        progress.begin();
        progress.keepalive(lsn(50));
        assert_eq!(progress.confirmable(), lsn(10));
        progress.commit(lsn(40));
        progress.keepalive(lsn(50));
        assert_eq!(progress.confirmable(), lsn(50));
    }

    #[test]
    fn progress_folds_transactions_that_settle_behind_an_unsettled_one() {
        let mut progress = Progress::new(lsn(0));
        let stuck = progress.begin();
        progress.event(stuck);
        progress.commit(lsn(1));
        for end in 2..10_000 {
            let transaction = progress.begin();
            progress.event(transaction);
            progress.commit(lsn(end));
            progress.settle(transaction);
        }
        assert_eq!((progress.unsettled.len(), progress.confirmable()), (1, lsn(0)));
        progress.settle(stuck);
        assert_eq!(progress.confirmable(), lsn(9_999));
    }

    #[test]
    fn progress_confirms_nothing_of_an_incomplete_transaction() {
        let mut progress = Progress::new(lsn(0));
        let lost = progress.begin();
        progress.event(lost);
        let next = progress.begin();
        progress.event(next);
        progress.commit(lsn(7));
        progress.settle(next);
        assert_eq!(progress.confirmable(), lsn(0));
        progress.settle(lost);
        assert_eq!(progress.confirmable(), lsn(7));
    }

    proptest! {
        /// Against the definition itself: walk the transactions from the first and stop at an unsettled event.
        #[test]
        fn progress_confirms_the_longest_settled_prefix(
            sizes in proptest::collection::vec(0usize..4, 1..30),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 120),
            early in proptest::collection::vec(any::<bool>(), 120),
        ) {
            let mut progress = Progress::new(lsn(0));
            let mut outstanding: Vec<(Transaction, usize)> = Vec::new();
            let mut read: Vec<(usize, Lsn)> = Vec::new();
            let mut settled = vec![0usize; sizes.len()];
            let mut order = order.into_iter();
            let mut early = early.into_iter();
            let check = |progress: &Progress, settled: &[usize], read: &[(usize, Lsn)]| {
                let prefix = read.iter().zip(settled).take_while(|((size, _), done)| size == *done);
                prefix.last().map_or(lsn(0), |((_, end), _)| *end) == progress.confirmable()
            };
            for (number, &size) in sizes.iter().enumerate() {
                let transaction = progress.begin();
                for _ in 0..size {
                    progress.event(transaction);
                    outstanding.push((transaction, number));
                    if early.next() == Some(true) && let Some(index) = order.next() {
                        let (transaction, number) = outstanding.swap_remove(index.index(outstanding.len()));
                        progress.settle(transaction);
                        settled[number] += 1;
                        prop_assert!(check(&progress, &settled, &read));
                    }
                }
                let end = lsn(number as u64 * 10 + 10);
                progress.commit(end);
                read.push((size, end));
                prop_assert!(check(&progress, &settled, &read));
            }
            while !outstanding.is_empty() {
                let at = order.next().map_or(0, |index| index.index(outstanding.len()));
                let (transaction, number) = outstanding.swap_remove(at);
                progress.settle(transaction);
                settled[number] += 1;
                prop_assert!(check(&progress, &settled, &read));
            }
            prop_assert!(progress.is_idle());
        }
    }
}
