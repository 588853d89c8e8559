//! Figures that a passing test shows.

use std::io::{self, Write};

/// Prints a line past the test runner, which keeps what passing tests print to itself.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
