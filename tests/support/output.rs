//! Output of passing tests.

use std::io::{self, Write};

/// Prints a line to standard error, which the test runner does not capture.
pub fn print_line(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
