//! The `replay` command: sends rows again, by the running relay or, without one, by itself.

mod args;
mod command;
mod dry_run;
mod follow;
mod progress;

pub use args::ReplayArgs;
pub(crate) use command::replay;
