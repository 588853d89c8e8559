//! The progress of a replay: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use outbox_store::{ReplayRequest, ReplayState};

/// The interval of plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shown until it is dropped.
pub(super) struct ProgressDisplay {
    bar: Option<ProgressBar>,
    /// When the request was first seen running, and how many of its rows were finished then.
    began: Option<(Instant, u64)>,
    line_at: Option<Instant>,
}

impl ProgressDisplay {
    pub(super) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_message("queued");
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        ProgressDisplay { bar, began: None, line_at: None }
    }

    pub(super) fn show(&mut self, request: &ReplayRequest) {
        if request.state == ReplayState::Queued {
            return;
        }
        let rows = request.progress.rows();
        let is_first = self.began.is_none();
        let (at, before) = *self.began.get_or_insert((Instant::now(), rows));
        if let (true, Some(bar)) = (is_first, &self.bar) {
            if let (Ok(style), Some(total)) = (
                ProgressStyle::with_template(
                    "[{wide_bar}] {human_pos} of {human_len} rows{msg}, {per_sec}, {eta} left",
                ),
                request.rows_total,
            ) {
                bar.set_length(total);
                bar.set_style(style);
            }
            bar.set_message("");
            bar.set_position(rows);
            bar.reset_eta();
        }
        let notes = notes(request);
        if let Some(bar) = &self.bar {
            bar.set_position(rows);
            bar.set_message(notes);
        } else if self.line_at.is_none_or(|line_at| line_at.elapsed() >= LINE_EVERY) {
            self.line_at = Some(Instant::now());
            let elapsed = at.elapsed();
            eprintln!("{}", line(rows, request.rows_total, &notes, rows.saturating_sub(before), elapsed));
        }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn notes(request: &ReplayRequest) -> String {
    let mut notes = String::new();
    for (count, what) in [(request.progress.failed, "failed"), (request.progress.passed, "passed over")] {
        if count > 0 {
            notes.push_str(&format!(", {count} {what}"));
        }
    }
    notes
}

/// The rate is that of the `recent` rows, which took `elapsed`.
fn line(rows: u64, total: Option<u64>, notes: &str, recent: u64, elapsed: Duration) -> String {
    let of = total.map_or_else(String::new, |total| format!(" of {total}"));
    let mut line = format!("{rows}{of} rows{notes}");
    if recent > 0 && elapsed >= Duration::from_secs(1) {
        let rate = recent as f64 / elapsed.as_secs_f64();
        line.push_str(&format!(", {rate:.0} per second"));
        if let Some(left) = total.map(|total| total.saturating_sub(rows)).filter(|left| *left > 0) {
            let left = Duration::from_secs((left as f64 / rate).ceil() as u64);
            line.push_str(&format!(", {} left", humantime::format_duration(left)));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_contains_counts_rate_and_time_left() {
        let ten = Duration::from_secs(10);
        assert_eq!(
            line(3000, Some(9000), ", 2 failed", 1000, ten),
            "3000 of 9000 rows, 2 failed, 100 per second, 1m left"
        );
        assert_eq!(line(0, Some(9000), "", 0, ten), "0 of 9000 rows");
        assert_eq!(line(5, None, "", 5, Duration::ZERO), "5 rows");
    }
}
