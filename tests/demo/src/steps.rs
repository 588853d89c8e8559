//! Progress of the demo: a bar on a terminal, plain lines elsewhere.

use std::fmt::Display;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The interval of progress lines without a bar.
const PLAIN_LINE: Duration = Duration::from_secs(5);

/// One step of the demo, shown until it is done or dropped.
pub(crate) struct Step {
    bar: Option<ProgressBar>,
    begun_at: Instant,
    logged_at: Instant,
}

impl Step {
    /// A step of unknown length.
    pub(crate) fn begin(what: impl Display) -> Step {
        Step::show(what, None)
    }

    /// A step that takes about `length`.
    pub(crate) fn timed(what: impl Display, length: Duration) -> Step {
        Step::show(what, Some(length))
    }

    fn show(what: impl Display, length: Option<Duration>) -> Step {
        let now = Instant::now();
        let bar = std::io::stderr().is_terminal().then(|| {
            let (bar, style) = match length {
                None => (ProgressBar::new_spinner(), "{spinner} {prefix} {msg} {elapsed}"),
                Some(length) => {
                    (ProgressBar::new(millis(length)), "{spinner} {prefix} [{wide_bar}] {msg} {elapsed}")
                }
            };
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar.set_prefix(what.to_string());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        if bar.is_none() {
            eprintln!("{what} …");
        }
        Step { bar, begun_at: now, logged_at: now }
    }

    /// Updates the progress message; without a bar at most once per interval.
    pub(crate) fn at(&mut self, message: impl Display) {
        if let Some(bar) = &self.bar {
            bar.set_position(millis(self.begun_at.elapsed()).min(bar.length().unwrap_or(0)));
            bar.set_message(message.to_string());
        } else if self.logged_at.elapsed() >= PLAIN_LINE {
            self.logged_at = Instant::now();
            eprintln!("  {message}");
        }
    }

    /// Prints a line above the bar.
    pub(crate) fn print(&self, line: impl Display) {
        match &self.bar {
            Some(bar) => bar.println(format!("  {line}")),
            None => eprintln!("  {line}"),
        }
    }

    /// Ends the step and prints its result.
    pub(crate) fn done(self, result: impl Display) {
        let line = format!("{result} ({:.1} s)", self.begun_at.elapsed().as_secs_f64());
        match &self.bar {
            // One line replaces the bar.
            Some(bar) => bar.println(line),
            None => eprintln!("  {line}"),
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
