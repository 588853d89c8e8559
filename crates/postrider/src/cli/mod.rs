//! The command line: its arguments, and what runs the command they name.

mod arguments;
mod execute;

pub use arguments::{Cli, Command};
pub use execute::execute;
