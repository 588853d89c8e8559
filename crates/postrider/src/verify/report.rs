//! The report as text and JSON.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::arguments::VerifyArguments;
use super::tally::Tally;

/// Lines that fit on a screen.
const SHOWN_MAX: usize = 20;

/// The rows that were verified, and the findings.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) table: String,
    pub(crate) arguments: &'a VerifyArguments,
    pub(crate) tally: &'a Tally,
    pub(crate) took: Duration,
}

impl Report<'_> {
    /// With the names that `--help` documents.
    pub(crate) fn json(&self) -> Value {
        let tally = self.tally;
        let time =
            |time: Option<SystemTime>| time.map(|time| humantime::format_rfc3339_micros(time).to_string());
        let findings = tally.wrong.listed.iter().chain(&tally.gone.listed);
        json!({
            "table": self.table,
            "from": time(self.arguments.from),
            "to": time(self.arguments.to),
            "sample": self.arguments.sample,
            "rows": tally.rows(),
            "proven": tally.proven,
            "missing": tally.missing,
            "mismatched": tally.mismatched,
            "expired": tally.expired,
            "findings": findings.map(|finding| finding.json()).collect::<Vec<_>>(),
            "findings_left_out": tally.wrong.unlisted + tally.gone.unlisted,
            "seconds": self.took.as_secs_f64(),
        })
    }

    /// The selection, if not all rows.
    fn selection(&self) -> String {
        let VerifyArguments { from, to, sample, .. } = self.arguments;
        let time = |word: &str, time: &Option<SystemTime>| {
            time.map(|time| format!(" {word} {}", humantime::format_rfc3339_micros(time)))
        };
        let created = [time("from", from), time("to", to)].into_iter().flatten().collect::<String>();
        let created = if created.is_empty() { created } else { format!(", created{created}") };
        format!("{created}{}", if sample.is_some() { ", a random sample" } else { "" })
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = self.tally;
        if tally.rows() == 0 {
            return writeln!(
                f,
                "{}{}: no row is PUBLISH or COMPLETE; nothing to prove",
                self.table,
                self.selection()
            );
        }
        let took = self.took.as_secs_f64();
        writeln!(f, "{}{}: {} rows in {took:.1} s", self.table, self.selection(), tally.rows())?;
        let width = tally.rows().to_string().len();
        let mut line = |name: &str, count: u64, means: &str| {
            writeln!(f, "{}", format!("  {name:<10}  {count:>width$}  {means}").trim_end())
        };
        let means = |count: u64, means: &'static str| if count == 0 { "" } else { means };
        line("proven", tally.proven, "")?;
        line("missing", tally.missing, means(tally.missing, "no record at the row's place"))?;
        line(
            "mismatched",
            tally.mismatched,
            means(tally.mismatched, "what is at the row's place has another id or other bytes"),
        )?;
        line("expired", tally.expired, means(tally.expired, "deleted by the topic's retention"))?;
        let findings = tally.wrong.listed.iter().chain(&tally.gone.listed);
        let mut shown = 0;
        for finding in findings.take(SHOWN_MAX) {
            if shown == 0 {
                writeln!(f)?;
            }
            shown += 1;
            writeln!(f, "  {}", finding.line())?;
        }
        let all = tally.rows() - tally.proven;
        if all > shown {
            writeln!(f, "  … and {} more; --json lists up to 10000 of a kind", all - shown)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use outbox::Status;
    use outbox_store::RowToVerify;
    use uuid::Uuid;

    use super::*;
    use crate::verify::result::{Missing, Verdict};

    fn tally(proven: u64, missing: u64, expired: u64) -> Tally {
        let row = |n| RowToVerify {
            id: Uuid::from_u128(u128::from(n)),
            status: Status::Publish,
            place: None,
            payload: None,
        };
        let mut tally = Tally::default();
        (0..expired).for_each(|n| tally.count(row(n), Verdict::Expired { start: 5 }));
        (0..missing).for_each(|n| tally.count(row(n), Verdict::Missing(Missing::NoPlace)));
        (0..proven).for_each(|n| tally.count(row(n), Verdict::Proven));
        tally
    }

    fn with(tally: &Tally, arguments: VerifyArguments, look: impl Fn(Report<'_>)) {
        look(Report {
            table: "public.outbox".to_owned(),
            arguments: &arguments,
            tally,
            took: Duration::from_millis(1250),
        });
    }

    #[test]
    fn people_see_the_counts_and_the_first_findings_the_worst_first() {
        with(&tally(1000, 3, 30), VerifyArguments::default(), |report| {
            let text = report.to_string();
            let lines: Vec<_> = text.lines().collect();
            assert_eq!(
                lines[..6],
                [
                    "public.outbox: 1033 rows in 1.2 s",
                    "  proven      1000",
                    "  missing        3  no record at the row's place",
                    "  mismatched     0",
                    "  expired       30  deleted by the topic's retention",
                    ""
                ]
            );
            assert!(lines[6].contains("missing") && lines[9].contains("expired"), "{text}");
            assert_eq!(lines.len(), 6 + 20 + 1);
            assert_eq!(lines[26], "  … and 13 more; --json lists up to 10000 of a kind");
        });
        with(&tally(2, 0, 0), VerifyArguments::default(), |report| {
            assert_eq!(report.to_string().lines().count(), 5);
        });
    }

    #[test]
    fn machines_see_all_that_is_kept() {
        let arguments = VerifyArguments { sample: Some(40), ..VerifyArguments::default() };
        with(&tally(1, 25, 1), arguments, |report| {
            let json = report.json();
            assert_eq!(json["rows"], 27);
            assert_eq!(json["missing"], 25);
            assert_eq!(json["sample"], 40);
            assert_eq!(json["from"], Value::Null);
            assert_eq!(json["findings"].as_array().unwrap().len(), 26);
            assert_eq!(json["findings_left_out"], 0);
        });
    }

    #[test]
    fn report_of_no_rows_names_the_selection() {
        let arguments = VerifyArguments { from: Some(SystemTime::UNIX_EPOCH), ..VerifyArguments::default() };
        with(&tally(0, 0, 0), arguments, |report| {
            assert_eq!(
                report.to_string(),
                "public.outbox, created from 1970-01-01T00:00:00.000000Z: no row is PUBLISH or COMPLETE; nothing \
                 to prove\n"
            );
        });
    }
}
