//! From an admitted event to its durable row.

pub(crate) mod deadline_buckets;
pub(crate) mod dispatch;
pub(crate) mod held_key_drain;
pub(crate) mod held_keys;
pub(crate) mod in_flight;
pub(crate) mod rejections;
pub(crate) mod resends;
