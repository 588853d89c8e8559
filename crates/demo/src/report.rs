//! The proof as a person reads it.

use std::fmt::{self, Display, Formatter};
use std::process::ExitStatus;
use std::time::Duration;

use crate::latency::Latency;
use crate::proof::Verdict;
use crate::relay::describe;
use crate::usage::Usage;

/// How many findings of a kind are shown.
const SHOWN_MAX: usize = 5;

/// How the relay did.
pub(crate) struct Performance {
    pub(crate) usage: Usage,
    pub(crate) status: ExitStatus,
    pub(crate) drained_in: Duration,
}

/// The whole result of a run.
pub(crate) struct Report {
    pub(crate) verdict: Verdict,
    pub(crate) latency: Option<Latency>,
    pub(crate) relay: Option<Performance>,
}

impl Report {
    /// Whether everything claimed is true.
    pub(crate) fn holds(&self) -> bool {
        self.verdict.holds() && self.relay.as_ref().is_some_and(|relay| relay.status.success())
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let verdict = &self.verdict;
        writeln!(f, "\nPROOF")?;
        count(f, "rows committed", verdict.committed, Some(verdict.committed > 0))?;
        count(f, "rows rolled back", verdict.rolled_back, None)?;
        count(f, "records on the broker", verdict.records, Some(verdict.records == verdict.committed))?;
        let in_place = Some(verdict.in_place == verdict.committed);
        count(f, "rows that say PUBLISH where their record really is", verdict.in_place, in_place)?;
        for (name, found) in findings(verdict) {
            count(f, name, found.len(), Some(found.is_empty()))?;
        }
        match &self.latency {
            Some(latency) => writeln!(f, "  from commit to the consumer: {latency}")?,
            None => writeln!(f, "  from commit to the consumer: nothing arrived")?,
        }
        match &self.relay {
            Some(Performance { usage, status, drained_in }) => writeln!(
                f,
                "  the relay: peak memory {:.1} MiB, {:.2} s of processor time; SIGTERM: {} after {:.2} s{}",
                usage.peak_rss_kib as f64 / 1024.0,
                usage.cpu_seconds,
                describe(*status),
                drained_in.as_secs_f64(),
                if status.success() { "" } else { "  WRONG" },
            )?,
            None => writeln!(f, "  the relay: none ran")?,
        }
        for (name, found) in findings(verdict).into_iter().filter(|(_, found)| !found.is_empty()) {
            writeln!(f, "\n{name}:")?;
            found.iter().take(SHOWN_MAX).try_for_each(|finding| writeln!(f, "  {finding}"))?;
            if found.len() > SHOWN_MAX {
                writeln!(f, "  and {} more", found.len() - SHOWN_MAX)?;
            }
        }
        writeln!(f, "\nThe proof {}.", if self.holds() { "holds" } else { "does NOT hold" })
    }
}

fn findings(verdict: &Verdict) -> [(&'static str, &[String]); 6] {
    [
        ("lost", &verdict.lost),
        ("unexpected", &verdict.unexpected),
        ("sent twice", &verdict.twice),
        ("rows or records in another place", &verdict.misplaced),
        ("out of order within their key", &verdict.out_of_order),
        ("payloads that differ from their row's", &verdict.altered),
    ]
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

    fn report(verdict: Verdict, exit_code: i32) -> Report {
        let relay = Performance {
            usage: Usage { peak_rss_kib: 2048, cpu_seconds: 1.5 },
            status: ExitStatus::from_raw(exit_code << 8),
            drained_in: Duration::from_millis(40),
        };
        Report { verdict, latency: None, relay: Some(relay) }
    }

    fn good() -> Verdict {
        Verdict { committed: 2, records: 2, in_place: 2, ..Verdict::default() }
    }

    #[test]
    fn a_good_run_says_that_the_proof_holds() {
        let report = report(good(), 0);
        assert!(report.holds());
        let text = report.to_string();
        assert!(text.ends_with("The proof holds.\n") && !text.contains("WRONG"), "{text}");
        assert!(text.contains("peak memory 2.0 MiB, 1.50 s of processor time; SIGTERM: exit 0"), "{text}");
    }

    #[test]
    fn a_relay_that_ends_with_an_error_or_did_not_run_proves_nothing() {
        assert!(!report(good(), 1).holds());
        assert!(!Report { relay: None, ..report(good(), 0) }.holds());
    }

    #[test]
    fn the_first_findings_are_shown_and_the_others_counted() {
        let lost = (0..7).map(|number| format!("row {number}")).collect();
        let text = report(Verdict { lost, ..good() }, 0).to_string();
        assert!(text.contains("row 4\n  and 2 more\n") && !text.contains("row 5"), "{text}");
        assert!(text.ends_with("The proof does NOT hold.\n"), "{text}");
    }
}
