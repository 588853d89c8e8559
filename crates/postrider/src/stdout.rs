//! Standard output.

use std::io::{self, Write};

/// Prints a command's output. A closed pipe, as by `head`, does not end the command halfway.
pub(crate) fn print(text: &str) {
    let mut output = io::stdout().lock();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}
