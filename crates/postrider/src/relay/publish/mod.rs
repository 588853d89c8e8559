//! From an admitted event to its durable row.
//!
//! [`Publisher`] hands events over to the producer in order, applies the failure policy to those that cannot be
//! published, and follows each until its row update is durable.

mod completions;
pub(crate) mod deadline_buckets;
pub(crate) mod failure_policy;
mod failures;
pub(crate) mod held_key_drain;
pub(crate) mod held_keys;
pub(crate) mod in_flight;
pub(crate) mod producer;
pub(crate) mod publisher;
pub(crate) mod queued_event;
pub(crate) mod resends;
pub(crate) mod topic_rejections;
pub(crate) mod value_stage;
