//! Standard output.

use std::io::{self, Write};

/// Says something that is for whoever called the program. A reader that has gone away, as `head` does, must not end
/// the work halfway.
pub(crate) fn say(text: &str) {
    let mut output = io::stdout().lock();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}
