//! The report as text.

use std::fmt::{self, Formatter};
use std::time::Duration;

use outbox_store::{HeldReport, ReplayReport, RowsReport, StateRows};

use super::report::{GroupLag, Section, Slot, StatusReport};
use super::units::{age, size, time};

/// The most characters of an error in its line.
const ERROR_CHARS_MAX: usize = 160;

/// Lines that fit on a screen.
const LANES_SHOWN_MAX: usize = 10;

/// The report in sections.
pub(crate) struct Text<'a>(pub(crate) &'a StatusReport);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let report = self.0;
        section(f, &format!("Rows of {}", report.table), &report.rows, rows)?;
        writeln!(f)?;
        slot(f, &report.slot)?;
        writeln!(f)?;
        section(f, "Receipts", &report.receipts, |f, groups| receipts(f, groups))?;
        if let Ok(rows) = &report.rows {
            writeln!(f)?;
            stuck(f, report, rows)?;
            writeln!(f)?;
            failed(f, rows)?;
        }
        writeln!(f)?;
        section(f, "Held", &report.held, held)?;
        writeln!(f)?;
        section(f, "Replays", &report.replays, |f, all| replays(f, all))
    }
}

fn section<T>(
    f: &mut Formatter<'_>,
    title: &str,
    section: &Section<T>,
    show: impl FnOnce(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    writeln!(f, "{title}")?;
    match section {
        Ok(part) => show(f, part),
        Err(reason) => writeln!(f, "  not known: {reason}"),
    }
}

fn rows(f: &mut Formatter<'_>, rows: &RowsReport) -> fmt::Result {
    let states = [
        ("INIT", &rows.init),
        ("PUBLISH", &rows.publish),
        ("COMPLETE", &rows.complete),
        ("FAILED", &rows.failed),
        ("other", &rows.other),
    ];
    let width = states.iter().map(|(_, state)| state.rows.to_string().len()).max().unwrap_or(0);
    for (name, StateRows { rows, oldest, .. }) in states {
        match oldest {
            Some(oldest) => writeln!(f, "  {name:<10}  {rows:>width$}  oldest {}", age(*oldest))?,
            None => writeln!(f, "  {name:<10}  {rows:>width$}")?,
        }
    }
    Ok(())
}

fn slot(f: &mut Formatter<'_>, slot: &Slot) -> fmt::Result {
    writeln!(f, "Slot {}", slot.name)?;
    let Some(state) = &slot.state else {
        return writeln!(f, "  does not exist; `postrider init` makes it");
    };
    let known = |text: Option<String>| text.unwrap_or_else(|| "unknown".to_owned());
    writeln!(f, "  {:<10}  {}", "read", if state.active { "yes" } else { "no" })?;
    writeln!(f, "  {:<10}  {}", "wal_status", known(state.wal_status.clone()))?;
    writeln!(f, "  {:<10}  {}", "retained", size(state.retained_bytes))?;
    writeln!(f, "  {:<10}  {}", "confirmed", known(state.confirmed.map(|lsn| lsn.to_string())))?;
    writeln!(f, "  {:<10}  {}", "lag", known(state.lag_bytes.map(size)))
}

fn receipts(f: &mut Formatter<'_>, groups: &[GroupLag]) -> fmt::Result {
    let name = |lag: &GroupLag| format!("{}{}", lag.group, if lag.own { " (ours)" } else { "" });
    let width = groups.iter().map(|lag| name(lag).chars().count()).max().unwrap_or(0).max(10);
    for lag in groups {
        write!(f, "  {:<width$}  {} behind", name(lag), records(lag.records))?;
        match &lag.worst {
            Some(worst) if worst.records < lag.records => {
                writeln!(f, ", {} of them in {} [{}]", worst.records, worst.topic, worst.partition)?;
            }
            Some(worst) => writeln!(f, ", in {} [{}]", worst.topic, worst.partition)?,
            None => writeln!(f)?,
        }
    }
    Ok(())
}

fn records(count: u64) -> String {
    format!("{count} record{}", if count == 1 { "" } else { "s" })
}

fn stuck(f: &mut Formatter<'_>, report: &StatusReport, rows: &RowsReport) -> fmt::Result {
    writeln!(f, "Stuck")?;
    let waiting = report.held.as_ref().map_or(0, |held| held.overdue);
    let mut line = |name: &str, state: &StateRows, after: Duration, held: u64| {
        write!(f, "  {name:<10}  {} for more than {}", state.overdue, age(after))?;
        if let Some(oldest) = state.overdue_oldest {
            write!(f, ", one for {}", age(oldest))?;
        }
        if held > 0 {
            write!(f, "; {held} of them held back, see below")?;
        }
        writeln!(f)
    };
    line("INIT", &rows.init, report.init_after, waiting)?;
    line("PUBLISH", &rows.publish, report.publish_after, 0)
}

fn failed(f: &mut Formatter<'_>, rows: &RowsReport) -> fmt::Result {
    writeln!(f, "Failed")?;
    if rows.failed.rows == 0 {
        return writeln!(f, "  none");
    }
    let shown = rows.failed_newest.len();
    writeln!(f, "  {} in all, the newest {shown}:", rows.failed.rows)?;
    for row in &rows.failed_newest {
        writeln!(f, "  {}  {}", row.id, short(row.last_error.as_deref().unwrap_or("no reason on the row")))?;
    }
    Ok(())
}

fn held(f: &mut Formatter<'_>, held: &HeldReport) -> fmt::Result {
    if !held.without_row.is_empty() {
        writeln!(f, "  failed events whose rows were deleted (postrider replay --id or --skip):")?;
    }
    for row in &held.without_row {
        writeln!(f, "  {}  {}", row.id, short(row.last_error.as_deref().unwrap_or("unknown reason")))?;
    }
    if held.lanes_total == 0 {
        return if held.without_row.is_empty() { writeln!(f, "  none") } else { Ok(()) };
    }
    let keys = if held.lanes_total == 1 { "key" } else { "keys" };
    writeln!(f, "  {} {keys}, with {} waiting", held.lanes_total, held.waiting)?;
    for lane in held.lanes.iter().take(LANES_SHOWN_MAX) {
        let key = short(&String::from_utf8_lossy(&lane.lane.key));
        let head = lane.head.map_or_else(|| "a row that is gone".to_owned(), |id| id.to_string());
        let topic = &lane.lane.topic;
        writeln!(f, "  {topic} key {key}: {} behind {head} for {}", lane.waiting, age(lane.held))?;
    }
    match held.lanes_total.saturating_sub(LANES_SHOWN_MAX as u64) {
        0 => Ok(()),
        more => writeln!(f, "  … and {more} more"),
    }
}

fn replays(f: &mut Formatter<'_>, replays: &[ReplayReport]) -> fmt::Result {
    if replays.is_empty() {
        return writeln!(f, "  none");
    }
    for replay in replays {
        let ReplayReport { id, kind, state, rows_sent, rows_failed, rows_passed, .. } = replay;
        write!(f, "  {id}  {kind:<6}  {state:<9}  {rows_sent} sent")?;
        if let Some(total) = replay.rows_total {
            write!(f, " of {total}")?;
        }
        for (count, what) in [(rows_failed, "failed"), (rows_passed, "passed over")] {
            if *count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        writeln!(f, ", asked for {} by {}", time(replay.requested_at_us), short(&replay.requested_by))?;
        if let Some(error) = &replay.last_error {
            writeln!(f, "    {}", short(error))?;
        }
    }
    Ok(())
}

/// One line of bounded length.
fn short(text: &str) -> String {
    let mut shown: String =
        text.chars().take(ERROR_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(ERROR_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}
