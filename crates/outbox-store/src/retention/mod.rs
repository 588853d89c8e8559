//! Deleting COMPLETE rows and dropping monthly partitions.

pub(crate) mod month;
pub(crate) mod partitions;
pub(crate) mod pass;
