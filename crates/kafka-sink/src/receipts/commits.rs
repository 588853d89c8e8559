//! Which positions may be committed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The number of a partition in the worker's table.
pub(super) type Index = usize;

/// What has been handed over and what of it is durable.
///
/// A position is committed only when its chunk and every earlier one are durable: whatever crashes, a record
/// is read again rather than skipped.
#[derive(Debug, Default)]
pub(super) struct Commits {
    /// The ticket of the first of `open`.
    first: u64,
    open: VecDeque<Chunk>,
    durable: BTreeMap<Index, i64>,
    changed: BTreeSet<Index>,
}

#[derive(Debug)]
struct Chunk {
    ends: BTreeMap<Index, i64>,
    is_durable: bool,
}

impl Commits {
    /// The group has committed this position before.
    pub(super) fn resume(&mut self, index: Index, position: i64) {
        self.durable.entry(index).or_insert(position);
    }

    /// A chunk is handed over, behind whose records the positions are `ends`. Returns its ticket.
    pub(super) fn sent(&mut self, ends: BTreeMap<Index, i64>) -> u64 {
        self.open.push_back(Chunk { ends, is_durable: false });
        self.first + self.open.len() as u64 - 1
    }

    /// The chunk is durable.
    pub(super) fn done(&mut self, ticket: u64) {
        let at = ticket.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(chunk) = at.and_then(|at| self.open.get_mut(at)) {
            chunk.is_durable = true;
        }
        while let Some(chunk) = self.open.pop_front_if(|chunk| chunk.is_durable) {
            self.first += 1;
            for (index, end) in chunk.ends {
                // A later chunk's position counts even where it is lower: the partition started anew.
                if self.durable.insert(index, end) != Some(end) {
                    self.changed.insert(index);
                }
            }
        }
    }

    /// Whether there is a position to commit.
    pub(super) fn is_due(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The positions that changed since the last call.
    pub(super) fn take(&mut self) -> Vec<(Index, i64)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|index| Some((index, *self.durable.get(&index)?))).collect()
    }

    /// All positions are to be committed again.
    pub(super) fn again(&mut self) {
        self.changed.extend(self.durable.keys());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chunk_waits_for_the_earlier_ones() {
        let mut commits = Commits::default();
        let first = commits.sent(BTreeMap::from([(0, 10)]));
        let second = commits.sent(BTreeMap::from([(0, 20), (1, 5)]));
        commits.done(second);
        assert!(!commits.is_due());
        commits.done(first);
        assert_eq!(commits.take(), [(0, 20), (1, 5)]);
        assert!(!commits.is_due());
        commits.again();
        assert_eq!(commits.take(), [(0, 20), (1, 5)]);
    }

    #[test]
    fn a_resumed_position_is_committed_again_only_with_all_others() {
        let mut commits = Commits::default();
        commits.resume(3, 7);
        assert!(!commits.is_due());
        commits.again();
        assert_eq!(commits.take(), [(3, 7)]);
    }

    proptest! {
        /// Records of three partitions in chunks, reported durable in any order: what is committed is where
        /// the longest durable prefix ends, always.
        #[test]
        fn never_beyond_what_is_durable(
            chunks in proptest::collection::vec(proptest::collection::vec(0_usize..3, 1..5), 1..12),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 12),
        ) {
            let mut commits = Commits::default();
            let mut positions = [0_i64; 3];
            let mut ends = Vec::new();
            for chunk in &chunks {
                let mut of_chunk = BTreeMap::new();
                for partition in chunk {
                    positions[*partition] += 1;
                    of_chunk.insert(*partition, positions[*partition]);
                }
                ends.push(positions);
                commits.sent(of_chunk);
            }
            let mut committed = [0_i64; 3];
            let mut waiting: Vec<usize> = (0..chunks.len()).collect();
            let mut durable = vec![false; chunks.len()];
            for pick in &order {
                if waiting.is_empty() {
                    break;
                }
                let ticket = waiting.swap_remove(pick.index(waiting.len()));
                durable[ticket] = true;
                commits.done(ticket as u64);
                for (partition, position) in commits.take() {
                    committed[partition] = position;
                }
                let prefix = durable.iter().take_while(|durable| **durable).count();
                let expected = prefix.checked_sub(1).map_or([0; 3], |last| ends[last]);
                prop_assert_eq!(committed, expected);
            }
        }
    }
}
