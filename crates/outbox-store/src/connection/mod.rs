//! Sessions: how a connection is made, its settings, its errors, and quoting.

pub(crate) mod backoff;
pub(crate) mod database;
pub(crate) mod error;
pub(crate) mod names;
pub(crate) mod quote;
pub(crate) mod session;
mod settings;
