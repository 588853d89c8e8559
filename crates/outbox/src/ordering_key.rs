//! The unit of ordering.

use bytes::Bytes;

/// A record key within a topic. Records of one ordering key are published in commit order, and a row that is held back
/// holds back the rows behind it.
///
/// The topic is the row's topic column even if Kafka would reject it, and empty if routing fails. Rows without a key
/// have no ordering key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderingKey {
    /// The topic's name.
    pub topic: String,
    /// The record's key.
    pub key: Bytes,
}
