//! The counts, and a bounded list of findings.

use outbox_store::RowToVerify;
use serde_json::{Value, json};

use super::result::Verdict;

/// The most findings kept; they take a few megabytes.
const LISTED_MAX: usize = 10_000;

/// The counts and the findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) proven: u64,
    pub(crate) missing: u64,
    pub(crate) mismatched: u64,
    pub(crate) expired: u64,
    /// Missing and mismatched rows.
    pub(crate) wrong: Findings,
    /// Expired rows, kept apart so that they do not displace the others.
    pub(crate) gone: Findings,
}

/// A bounded list of findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    pub(crate) listed: Vec<Finding>,
    /// The number of findings not kept.
    pub(crate) unlisted: u64,
}

/// A row that is not proven, without its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    row: RowToVerify,
    verdict: Verdict,
}

impl Tally {
    /// Counts a row.
    pub(crate) fn count(&mut self, row: RowToVerify, verdict: Verdict) {
        let (count, findings) = match verdict {
            Verdict::Proven => {
                self.proven += 1;
                return;
            }
            Verdict::Missing(_) => (&mut self.missing, &mut self.wrong),
            Verdict::Mismatched(_) => (&mut self.mismatched, &mut self.wrong),
            Verdict::Expired { .. } => (&mut self.expired, &mut self.gone),
        };
        *count += 1;
        if findings.listed.len() < LISTED_MAX {
            findings.listed.push(Finding { row: RowToVerify { payload: None, ..row }, verdict });
        } else {
            findings.unlisted += 1;
        }
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> u64 {
        self.proven + self.missing + self.mismatched + self.expired
    }

    /// The number of missing and mismatched rows.
    pub(crate) fn wrong(&self) -> u64 {
        self.missing + self.mismatched
    }
}

impl Finding {
    /// One line: row, status, position and finding.
    pub(crate) fn line(&self) -> String {
        let RowToVerify { id, status, place, .. } = &self.row;
        let place = place.as_ref().map_or_else(
            || "nowhere".to_owned(),
            |place| format!("{} [{}] @ {}", place.topic, place.partition, place.offset),
        );
        let status = status.as_str();
        format!("{id}  {status:<8}  {:<10}  {place}: {}", self.verdict.name(), self.verdict)
    }

    pub(crate) fn json(&self) -> Value {
        let place = self.row.place.as_ref();
        json!({
            "id": self.row.id.to_string(),
            "status": self.row.status.as_str(),
            "verdict": self.verdict.name(),
            "topic": place.map(|place| &*place.topic),
            "partition": place.map(|place| place.partition),
            "offset": place.map(|place| place.offset),
            "found": self.verdict.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use outbox::RecordPosition;
    use outbox::Status;
    use uuid::Uuid;

    use super::*;
    use crate::verify::result::Missing;

    fn row(place: Option<RecordPosition>) -> RowToVerify {
        RowToVerify { id: Uuid::from_u128(1), status: Status::Complete, place, payload: Some("{}".into()) }
    }

    #[test]
    fn what_is_expired_leaves_room_for_what_is_wrong_and_nothing_is_listed_without_end() {
        let mut tally = Tally::default();
        let count = LISTED_MAX + 5;
        for _ in 0..count {
            tally.count(row(None), Verdict::Expired { start: 1 });
            tally.count(row(None), Verdict::Proven);
        }
        tally.count(row(None), Verdict::Missing(Missing::NoPlace));
        assert_eq!((tally.gone.listed.len(), tally.gone.unlisted), (LISTED_MAX, 5));
        assert_eq!((tally.wrong.listed.len(), tally.wrong.unlisted), (1, 0));
        assert_eq!((tally.rows(), tally.wrong()), (2 * count as u64 + 1, 1));
        assert_eq!(tally.wrong.listed[0].row.payload, None);
    }

    #[test]
    fn a_finding_names_the_row_its_place_and_what_was_there() {
        let place = RecordPosition { topic: "orders".into(), partition: 3, offset: 14 };
        let finding =
            Finding { row: row(Some(place)), verdict: Verdict::Missing(Missing::BeyondEnd { end: 9 }) };
        assert_eq!(
            finding.line(),
            "00000000-0000-0000-0000-000000000001  COMPLETE  missing     orders [3] @ 14: the partition ends at offset 9"
        );
        assert_eq!(
            finding.json(),
            json!({
                "id": "00000000-0000-0000-0000-000000000001", "status": "COMPLETE", "verdict": "missing",
                "topic": "orders", "partition": 3, "offset": 14, "found": "the partition ends at offset 9",
            })
        );
        let nowhere = Finding { row: row(None), verdict: Verdict::Missing(Missing::NoPlace) };
        assert!(nowhere.line().contains("nowhere: the row has no topic"), "{}", nowhere.line());
        assert_eq!(nowhere.json()["topic"], Value::Null);
    }
}
