//! The values that are set: the configuration file with the environment on top.

pub(crate) mod collect;
pub(crate) mod config_source;
mod file;
pub(crate) mod names;
pub(crate) mod raw_value;
mod secret_files;
pub(crate) mod suggest;
mod table;
pub(crate) mod values;
mod variables;
