//! Rows that wait for longer than their deadline.

pub(crate) mod filter;
pub(crate) mod overview;
pub(crate) mod pages;
pub(crate) mod rows;
pub(crate) mod sql;
