//! Other programs, run to their end.

use std::process::{Command, Output, Stdio};

use crate::Error;

/// Runs a command; its error has the end of what the command printed.
pub(crate) fn output_of(command: &mut Command) -> Result<Output, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(Error::running(&program))?;
    if output.status.success() {
        return Ok(output);
    }
    let printed =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(Error::Failed { what: format!("{program} ({})", output.status), output: tail(&printed, 30) })
}

/// The last `count` lines of a text.
pub(crate) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
