//! Consumers that join no group: records by offset, and the committed offsets of groups.

mod answer_deadline;
pub(crate) mod consumer;
pub(crate) mod groups;
pub(crate) mod inspect_error;
pub(crate) mod inspector;
mod inspector_thread;
pub(crate) mod offset_content;
pub(crate) mod partition_reader;
pub(crate) mod read_error;
