//! The messages of the `pgoutput` plugin, decoded from bytes without any I/O.

pub(crate) mod change;
pub(crate) mod decoder;
pub(crate) mod relation;
pub(crate) mod tuple;
