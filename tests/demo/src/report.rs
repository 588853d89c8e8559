//! Prints the proof.

use std::fmt::{self, Display, Formatter};
use std::process::ExitStatus;
use std::time::Duration;

use crate::latency::Latency;
use crate::proof::Verdict;
use crate::relay::describe;
use crate::usage::Usage;

/// The number of findings printed per kind.
const SHOWN_MAX: usize = 5;

/// Resource usage and exit of the relay.
pub(crate) struct Performance {
    pub(crate) usage: Usage,
    pub(crate) status: ExitStatus,
    pub(crate) drained_in: Duration,
    /// The exit status of `postrider verify`.
    pub(crate) verified: ExitStatus,
}

/// The whole result of a run.
pub(crate) struct Report {
    pub(crate) verdict: Verdict,
    pub(crate) latency: Option<Latency>,
    pub(crate) relay: Option<Performance>,
}

impl Report {
    /// Whether the proof holds.
    pub(crate) fn holds(&self) -> bool {
        let fine = |relay: &Performance| relay.status.success() && relay.verified.success();
        self.verdict.holds() && self.relay.as_ref().is_some_and(fine)
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let verdict = &self.verdict;
        let explained = verdict.explained.len();
        writeln!(f, "\nPROOF")?;
        count(f, "rows committed", verdict.committed, Some(verdict.committed > 0))?;
        count(f, "rows rolled back", verdict.rolled_back, None)?;
        let in_place = Some(verdict.in_place + explained == verdict.committed);
        count(f, "rows COMPLETE at the position of their newest record", verdict.in_place, in_place)?;
        count(f, "rows FAILED as intended", explained, None)?;
        let records = Some(verdict.records == verdict.records_due);
        count(f, "records on the broker", verdict.records, records)?;
        count(f, "  sent again by a replay", verdict.replayed, None)?;
        count(f, "  sent again because the broker lost them", verdict.reconciled, None)?;
        for (name, found) in verdict.findings() {
            count(f, name, found.len(), Some(found.is_empty()))?;
        }
        let states: Vec<String> =
            verdict.states.iter().map(|(state, rows)| format!("{rows} {state}")).collect();
        writeln!(f, "  outbox: {}", if states.is_empty() { "empty".to_owned() } else { states.join(", ") })?;
        match &self.latency {
            Some(latency) => writeln!(f, "  commit to consumer: {latency}")?,
            None => writeln!(f, "  commit to consumer: nothing arrived")?,
        }
        match &self.relay {
            Some(Performance { usage, status, drained_in, verified }) => {
                writeln!(
                    f,
                    "  relay: peak memory {:.1} MiB, {:.2} s of CPU time; SIGTERM: {} after {:.2} s{}",
                    usage.peak_rss_kib as f64 / 1024.0,
                    usage.cpu_seconds,
                    describe(*status),
                    drained_in.as_secs_f64(),
                    mark(status.success()),
                )?;
                writeln!(f, "  postrider verify: {}{}", describe(*verified), mark(verified.success()))?;
            }
            None => writeln!(f, "  relay: not started")?,
        }
        if explained > 0 {
            let rows = if explained == 1 { "row" } else { "rows" };
            show(f, &format!("{explained} {rows} FAILED as intended"), &verdict.explained)?;
        }
        for (name, found) in verdict.findings().into_iter().filter(|(_, found)| !found.is_empty()) {
            show(f, name, found)?;
        }
        writeln!(f, "\nThe proof {}.", if self.holds() { "holds" } else { "does NOT hold" })
    }
}

fn show(f: &mut Formatter<'_>, name: &str, found: &[String]) -> fmt::Result {
    writeln!(f, "\n{name}:")?;
    found.iter().take(SHOWN_MAX).try_for_each(|finding| writeln!(f, "  {finding}"))?;
    if found.len() > SHOWN_MAX {
        writeln!(f, "  and {} more", found.len() - SHOWN_MAX)?;
    }
    Ok(())
}

fn mark(fine: bool) -> &'static str {
    if fine { "" } else { "  WRONG" }
}

fn count(f: &mut Formatter<'_>, name: &str, count: usize, fine: Option<bool>) -> fmt::Result {
    let mark = match fine {
        None => "",
        Some(true) => "  ok",
        Some(false) => "  WRONG",
    };
    writeln!(f, "  {name:<52}{count:>10}{mark}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn report(verdict: Verdict, exit_code: i32, verify_code: i32) -> Report {
        let relay = Performance {
            usage: Usage { peak_rss_kib: 2048, cpu_seconds: 1.5 },
            status: ExitStatus::from_raw(exit_code << 8),
            drained_in: Duration::from_millis(40),
            verified: ExitStatus::from_raw(verify_code << 8),
        };
        Report { verdict, latency: None, relay: Some(relay) }
    }

    fn good() -> Verdict {
        Verdict { committed: 2, records: 2, records_due: 2, in_place: 2, ..Verdict::default() }
    }

    #[test]
    fn good_run_prints_that_the_proof_holds() {
        let report = report(good(), 0, 0);
        assert!(report.holds());
        let text = report.to_string();
        assert!(text.ends_with("The proof holds.\n") && !text.contains("WRONG"), "{text}");
        assert!(text.contains("peak memory 2.0 MiB, 1.50 s of CPU time; SIGTERM: exit 0"), "{text}");
        assert!(text.contains("postrider verify: exit 0\n"), "{text}");
    }

    #[test]
    fn a_relay_that_ends_with_an_error_or_did_not_run_proves_nothing() {
        assert!(!report(good(), 1, 0).holds());
        assert!(!Report { relay: None, ..report(good(), 0, 0) }.holds());
    }

    #[test]
    fn the_proof_does_not_hold_where_verify_found_something() {
        let report = report(good(), 0, 1);
        assert!(!report.holds());
        assert!(report.to_string().contains("postrider verify: exit 1  WRONG\n"));
    }

    #[test]
    fn a_row_that_should_be_failed_is_shown_with_its_reason() {
        let explained = vec!["row 7: its headers are no JSON object".to_owned()];
        let states = [("COMPLETE".to_owned(), 1), ("FAILED".to_owned(), 1)].into();
        let report = report(Verdict { in_place: 1, explained, states, ..good() }, 0, 0);
        assert!(report.holds());
        let text = report.to_string();
        assert!(text.contains("\n1 row FAILED as intended:\n  row 7: its headers are no"), "{text}");
        assert!(text.contains("  outbox: 1 COMPLETE, 1 FAILED\n") && !text.contains("WRONG"), "{text}");
    }

    #[test]
    fn the_first_findings_are_shown_and_the_others_counted() {
        let lost = (0..7).map(|number| format!("row {number}")).collect();
        let text = report(Verdict { lost, ..good() }, 0, 0).to_string();
        assert!(text.contains("row 4\n  and 2 more\n") && !text.contains("row 5"), "{text}");
        assert!(text.ends_with("The proof does NOT hold.\n"), "{text}");
    }
}
