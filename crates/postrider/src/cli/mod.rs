//! The command line: arguments and dispatch.

mod arguments;
mod execute;

pub use arguments::{Cli, Command};
pub use execute::execute;
