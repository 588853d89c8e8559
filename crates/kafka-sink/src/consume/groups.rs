//! How far consumer groups are, asked without joining them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::consume::consumer::{Reader, ReaderContext, consumer_config};
use crate::consume::inspect_error::LookError;

/// A topic's partition.
pub(crate) type TopicPartition = (Arc<str>, i32);

/// One consumer for each group that is asked about: only a client of a group asks for its offsets.
pub(crate) struct Groups {
    producer: ClientConfig,
    readers: HashMap<String, Reader>,
}

impl Groups {
    pub(crate) fn new(producer: ClientConfig) -> Self {
        Groups { producer, readers: HashMap::new() }
    }

    /// The offsets that the group has committed, in the order of `partitions`; `None` where it has none.
    /// Blocks for `within` at the longest.
    pub(crate) fn committed(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
        within: Duration,
    ) -> Result<Vec<Option<i64>>, LookError> {
        let reader = match self.readers.get(group) {
            Some(reader) => reader,
            None => {
                let config = consumer_config(&self.producer, group);
                let reader = config.create_with_context(ReaderContext::default());
                let reader = reader.map_err(|error| LookError::not_made(&error))?;
                self.readers.entry(group.to_owned()).or_insert(reader)
            }
        };
        let offsets = committed(reader, group, partitions, within);
        // Errors of its connections, which would gather in its queue. One of them may be the reason.
        while reader.poll(Duration::ZERO).is_some() {}
        offsets.map_err(|error| because(reader, group, error))
    }
}

/// [`Groups::committed`], asked by a consumer of the group.
pub(crate) fn committed(
    reader: &Reader,
    group: &str,
    partitions: &[TopicPartition],
    within: Duration,
) -> Result<Vec<Option<i64>>, LookError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let what = || offsets_of(group);
    let mut asked = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        asked.add_partition(topic, *partition);
    }
    let told = reader.committed_offsets(asked, within);
    let told = told.map_err(|error| because(reader, group, LookError::of(what(), &error)))?;
    reader.context().told();
    let mut offsets = HashMap::with_capacity(partitions.len());
    for element in told.elements() {
        if let Err(error) = element.error() {
            let what = format!("{} in topic {}", what(), element.topic());
            return Err(LookError::of(what, &error));
        }
        if let Offset::Offset(offset) = element.offset() {
            offsets.insert((element.topic().to_owned(), element.partition()), offset);
        }
    }
    let offset = |(topic, partition): &TopicPartition| offsets.get(&(topic.to_string(), *partition)).copied();
    Ok(partitions.iter().map(offset).collect())
}

fn offsets_of(group: &str) -> String {
    format!("the committed offsets of group {group}")
}

/// The reason why there is no answer, where it has been told since.
fn because(reader: &Reader, group: &str, error: LookError) -> LookError {
    match reader.context().denied() {
        Some(code) if error.is_transient() => LookError::of_code(offsets_of(group), code),
        _ => error,
    }
}
