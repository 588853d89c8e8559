//! Progress on standard error: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The interval of plain lines.
const PLAIN_LINE: Duration = Duration::from_secs(5);

/// Shown until it is dropped.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    begun_at: Instant,
    logged_at: Instant,
}

impl Progress {
    pub(crate) fn begin(total: u64) -> Progress {
        let now = Instant::now();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            let style = "verifying [{wide_bar}] {human_pos} of {human_len} rows, {eta} left";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Progress { bar, total, begun_at: now, logged_at: now }
    }

    pub(crate) fn at(&mut self, rows: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(rows);
        } else if self.logged_at.elapsed() >= PLAIN_LINE {
            self.logged_at = Instant::now();
            eprintln!("{}", line(rows, self.total, self.begun_at.elapsed()));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(rows: u64, total: u64, elapsed: Duration) -> String {
    let left = total.saturating_sub(rows);
    let seconds = elapsed.as_secs().saturating_mul(left).checked_div(rows);
    let left = seconds.map_or_else(String::new, |seconds| {
        format!(", {} left", humantime::format_duration(Duration::from_secs(seconds)))
    });
    format!("verifying: {rows} of {total} rows{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_line_shows_what_is_left() {
        assert_eq!(line(250, 1000, Duration::from_secs(30)), "verifying: 250 of 1000 rows, 1m 30s left");
        assert_eq!(line(0, 1000, Duration::from_secs(30)), "verifying: 0 of 1000 rows");
    }
}
