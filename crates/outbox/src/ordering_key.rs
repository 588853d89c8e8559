//! What order is kept within.

use bytes::Bytes;

/// The records of one key in one topic: the order of commits holds among them, and what is held back for one of
/// them is held back for those after it.
///
/// A row that names a topic which cannot be has that name; one whose topic cannot be told has the empty topic; a row without a key has no lane, for no order holds
/// for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane {
    /// The topic's name.
    pub topic: String,
    /// The record's key.
    pub key: Bytes,
}
