//! The offsets that may be committed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The index of a partition among the consumed partitions.
pub(super) type PartitionIndex = usize;

/// The chunks that were sent, and the offsets of those that are durable.
///
/// An offset is committed only when its chunk and every earlier one are durable: after a crash a record is read again
/// rather than skipped.
#[derive(Debug, Default)]
pub(super) struct OffsetCommits {
    /// The ticket of the first open chunk.
    first: u64,
    open: VecDeque<SentChunk>,
    durable: BTreeMap<PartitionIndex, i64>,
    changed: BTreeSet<PartitionIndex>,
}

#[derive(Debug)]
struct SentChunk {
    ends: BTreeMap<PartitionIndex, i64>,
    is_durable: bool,
}

impl OffsetCommits {
    /// The group committed this offset before.
    pub(super) fn resume(&mut self, index: PartitionIndex, position: i64) {
        self.durable.entry(index).or_insert(position);
    }

    /// A chunk was sent; `ends` are the offsets after its records. Returns its ticket.
    pub(super) fn sent(&mut self, ends: BTreeMap<PartitionIndex, i64>) -> u64 {
        self.open.push_back(SentChunk { ends, is_durable: false });
        self.first + self.open.len() as u64 - 1
    }

    /// The chunk is durable.
    pub(super) fn mark_durable(&mut self, ticket: u64) {
        let at = ticket.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(chunk) = at.and_then(|at| self.open.get_mut(at)) {
            chunk.is_durable = true;
        }
        while let Some(chunk) = self.open.pop_front_if(|chunk| chunk.is_durable) {
            self.first += 1;
            for (index, end) in chunk.ends {
                // The offset of a later chunk counts even if it is lower: the partition was rewound.
                if self.durable.insert(index, end) != Some(end) {
                    self.changed.insert(index);
                }
            }
        }
    }

    /// Whether there is an offset to commit.
    pub(super) fn is_due(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The offsets that changed since the last call.
    pub(super) fn take(&mut self) -> Vec<(PartitionIndex, i64)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|index| Some((index, *self.durable.get(&index)?))).collect()
    }

    /// Commits all offsets again.
    pub(super) fn commit_all_again(&mut self) {
        self.changed.extend(self.durable.keys());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chunk_waits_for_earlier_chunks() {
        let mut commits = OffsetCommits::default();
        let first = commits.sent(BTreeMap::from([(0, 10)]));
        let second = commits.sent(BTreeMap::from([(0, 20), (1, 5)]));
        commits.mark_durable(second);
        assert!(!commits.is_due());
        commits.mark_durable(first);
        assert_eq!(commits.take(), [(0, 20), (1, 5)]);
        assert!(!commits.is_due());
        commits.commit_all_again();
        assert_eq!(commits.take(), [(0, 20), (1, 5)]);
    }

    #[test]
    fn resumed_offset_is_committed_only_with_all_others() {
        let mut commits = OffsetCommits::default();
        commits.resume(3, 7);
        assert!(!commits.is_due());
        commits.commit_all_again();
        assert_eq!(commits.take(), [(3, 7)]);
    }

    proptest! {
        /// Records of three partitions in chunks that become durable in any order: the committed offsets are always
        /// the end of the longest durable prefix.
        #[test]
        fn commits_end_with_the_longest_durable_prefix(
            chunks in proptest::collection::vec(proptest::collection::vec(0_usize..3, 1..5), 1..12),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 12),
        ) {
            let mut commits = OffsetCommits::default();
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
                commits.mark_durable(ticket as u64);
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
