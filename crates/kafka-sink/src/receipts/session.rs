//! The consumer that reads as the group.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::ReceiptsOptions;
use super::partitions::Partition;
use crate::consume::consumer::{Reader, ReaderContext, consumer_config};
use crate::consume::groups::{TopicPartition, committed};
use crate::consume::inspect_error::LookError;

pub(super) struct Session {
    config: ClientConfig,
    group: String,
    reader: Reader,
}

impl Session {
    pub(super) fn start(options: &ReceiptsOptions) -> Result<Self, LookError> {
        let config = consumer_config(&options.config, &options.group);
        let reader = reader(&config)?;
        Ok(Session { config, group: options.group.clone(), reader })
    }

    /// A new consumer, which knows nothing of how topics were, and nothing assigned.
    pub(super) fn renew(&mut self) -> Result<(), LookError> {
        self.reader = reader(&self.config)?;
        Ok(())
    }

    /// The group's own committed offsets.
    pub(super) fn committed(
        &self,
        partitions: &[TopicPartition],
        within: Duration,
    ) -> Result<Vec<Option<i64>>, LookError> {
        committed(&self.reader, &self.group, partitions, within)
    }

    /// Reads the partitions as well, each from its position.
    pub(super) fn take_up<'p>(
        &self,
        partitions: impl Iterator<Item = (&'p Partition, i64)>,
    ) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        for (partition, position) in partitions {
            let offset = if position == 0 { Offset::Beginning } else { Offset::Offset(position) };
            list.add_partition_offset(&partition.topic, partition.number, offset)?;
        }
        self.reader.incremental_assign(&list)
    }

    /// Reads the partition no more. What is queued of it is dropped.
    pub(super) fn let_go(&self, partition: &Partition) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&partition.topic, partition.number);
        self.reader.incremental_unassign(&list)
    }

    pub(super) fn let_all_go(&self) -> KafkaResult<()> {
        self.reader.unassign()
    }

    /// Starts to commit the positions.
    pub(super) fn commit<'p>(
        &self,
        positions: impl Iterator<Item = (&'p Partition, i64)>,
    ) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        for (partition, position) in positions {
            list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(position))?;
        }
        // Asynchronous, since the other kind waits without a limit for a coordinator that is away.
        self.reader.commit(&list, CommitMode::Async)
    }

    pub(super) fn context(&self) -> &ReaderContext {
        self.reader.context()
    }

    pub(super) fn poll(&self, within: Duration) -> Option<Result<BorrowedMessage<'_>, KafkaError>> {
        self.reader.poll(within)
    }
}

fn reader(config: &ClientConfig) -> Result<Reader, LookError> {
    config.create_with_context(ReaderContext::default()).map_err(|error| LookError::not_made(&error))
}

/// The partition as others name it.
pub(super) fn named(partition: &Partition) -> TopicPartition {
    (Arc::clone(&partition.topic), partition.number)
}
