//! The consumer that reads and commits for the group.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::consume::consumer::{LoggedConsumer, LoggingContext, consumer_config};
use crate::consume::groups::{TopicPartition, committed};
use crate::consume::inspect_error::InspectError;
use crate::receipts::options::ReceiptsOptions;
use crate::receipts::partitions::ConsumedPartition;

pub(super) struct ConsumerSession {
    config: ClientConfig,
    group: String,
    consumer: LoggedConsumer,
}

impl ConsumerSession {
    pub(super) fn start(options: &ReceiptsOptions) -> Result<Self, InspectError> {
        let config = consumer_config(&options.config, &options.group);
        let consumer = create(&config)?;
        Ok(ConsumerSession { config, group: options.group.clone(), consumer })
    }

    /// Replaces the consumer by one without assignments and without metadata of earlier topics.
    pub(super) fn renew(&mut self) -> Result<(), InspectError> {
        self.consumer = create(&self.config)?;
        Ok(())
    }

    /// The committed offsets of the group.
    pub(super) fn committed(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Option<i64>>, InspectError> {
        committed(&self.consumer, &self.group, partitions, timeout)
    }

    /// Assigns more partitions, each from its position.
    pub(super) fn assign<'p>(
        &self,
        partitions: impl Iterator<Item = (&'p ConsumedPartition, i64)>,
    ) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        for (partition, position) in partitions {
            let offset = if position == 0 { Offset::Beginning } else { Offset::Offset(position) };
            list.add_partition_offset(&partition.topic, partition.number, offset)?;
        }
        self.consumer.incremental_assign(&list)
    }

    /// Unassigns a partition and drops its prefetched records.
    pub(super) fn unassign(&self, partition: &ConsumedPartition) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&partition.topic, partition.number);
        self.consumer.incremental_unassign(&list)
    }

    pub(super) fn unassign_all(&self) -> KafkaResult<()> {
        self.consumer.unassign()
    }

    /// Starts to commit the positions.
    pub(super) fn commit<'p>(
        &self,
        positions: impl Iterator<Item = (&'p ConsumedPartition, i64)>,
    ) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        for (partition, position) in positions {
            list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(position))?;
        }
        // Asynchronous, because a synchronous commit waits for an unreachable coordinator without a timeout.
        self.consumer.commit(&list, CommitMode::Async)
    }

    pub(super) fn context(&self) -> &LoggingContext {
        self.consumer.context()
    }

    pub(super) fn poll(&self, timeout: Duration) -> Option<Result<BorrowedMessage<'_>, KafkaError>> {
        self.consumer.poll(timeout)
    }
}

fn create(config: &ClientConfig) -> Result<LoggedConsumer, InspectError> {
    config.create_with_context(LoggingContext::default()).map_err(|error| InspectError::not_created(&error))
}

pub(super) fn topic_partition(partition: &ConsumedPartition) -> TopicPartition {
    (Arc::clone(&partition.topic), partition.number)
}
