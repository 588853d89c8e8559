//! The demo's verdict: compares the committed rows and the interventions with the rows and the records after the run.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use uuid::Uuid;

/// The position of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, partition {}, offset {}", self.topic, self.partition, self.offset)
    }
}

/// An outbox row that the shop committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sold {
    pub(crate) id: Uuid,
    pub(crate) topic: String,
    pub(crate) key: String,
    /// Whether it can be published.
    pub(crate) well_formed: bool,
}

/// An intervention after a row was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sequel {
    /// A replay was requested.
    Replay,
    /// Its record was deleted from the broker before it was consumed.
    Deletion,
}

/// A row of the outbox table after the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: Uuid,
    pub(crate) status: String,
    pub(crate) place: Option<Place>,
    pub(crate) payload: Option<String>,
    pub(crate) attempts: i32,
    pub(crate) last_error: Option<String>,
}

/// Who sent a record, by its header `postrider-replay`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The relay, from the WAL: no such header.
    Wal,
    /// A replay request, by its id.
    Request,
    /// The reconciler.
    Reconciler,
    /// An invalid value of the header.
    Unknown(String),
}

impl Sender {
    pub(crate) fn of(header: Option<&str>) -> Sender {
        match header {
            None => Sender::Wal,
            Some("reconciler") => Sender::Reconciler,
            Some(request) if Uuid::try_parse(request).is_ok() => Sender::Request,
            Some(other) => Sender::Unknown(other.to_owned()),
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sender::Wal => f.write_str("the relay"),
            Sender::Request => f.write_str("a replay"),
            Sender::Reconciler => f.write_str("the reconciler"),
            Sender::Unknown(header) => write!(f, "'{header}'"),
        }
    }
}

/// A record on the broker after the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) place: Place,
    /// The header `id`, where it is a UUID.
    pub(crate) id: Option<Uuid>,
    pub(crate) sender: Sender,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) payload: Option<Vec<u8>>,
}

/// The input of the verdict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    /// The committed rows; the rows of one key are in their commit order.
    pub(crate) sold: &'a [Sold],
    pub(crate) rolled_back: &'a [Uuid],
    pub(crate) sequels: &'a HashMap<Uuid, Sequel>,
    pub(crate) rows: &'a [Row],
    pub(crate) records: &'a [Record],
}

/// The findings; each is a sentence about one row or record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) committed: usize,
    pub(crate) rolled_back: usize,
    /// Rows of the table by state.
    pub(crate) states: BTreeMap<String, usize>,
    pub(crate) records: usize,
    /// The number of expected records.
    pub(crate) records_due: usize,
    /// Records sent again as expected: by the replay, by the reconciler.
    pub(crate) replayed: usize,
    pub(crate) reconciled: usize,
    /// Rows COMPLETE at the position of their newest record.
    pub(crate) in_place: usize,
    /// Rows that cannot be published and are FAILED with a reason.
    pub(crate) explained: Vec<String>,
    /// Committed rows without their expected record.
    pub(crate) lost: Vec<String>,
    /// Records and rows that were not committed.
    pub(crate) unexpected: Vec<String>,
    /// Further records of a row that was sent from the WAL once.
    pub(crate) twice: Vec<String>,
    /// Records sent again without a reason, and rows that were not sent again although expected.
    pub(crate) resent: Vec<String>,
    /// Rows with a wrong state, position, attempts or error.
    pub(crate) wrong_state: Vec<String>,
    /// Records on another topic or under another key.
    pub(crate) misplaced: Vec<String>,
    /// Records before a record of an earlier commit of the same key.
    pub(crate) out_of_order: Vec<String>,
    /// Records whose value is not the row's payload, byte for byte.
    pub(crate) altered: Vec<String>,
}

impl Verdict {
    /// Whether rows were committed, and each is COMPLETE at its record or FAILED as expected, without any finding.
    pub(crate) fn holds(&self) -> bool {
        let settled = self.in_place + self.explained.len() == self.committed;
        self.committed > 0 && settled && self.findings().iter().all(|(_, found)| found.is_empty())
    }

    /// The kinds of violations with their findings.
    pub(crate) fn findings(&self) -> [(&'static str, &[String]); 8] {
        [
            ("lost", &self.lost),
            ("unexpected", &self.unexpected),
            ("sent twice", &self.twice),
            ("sent again without a reason, or not although expected", &self.resent),
            ("rows with a wrong state", &self.wrong_state),
            ("records on another topic or under another key", &self.misplaced),
            ("out of order within their key", &self.out_of_order),
            ("payloads that differ from their row's", &self.altered),
        ]
    }
}

/// Compares the committed rows with the rows and records.
pub(crate) fn examine(evidence: Evidence<'_>) -> Verdict {
    let Evidence { sold, rolled_back, sequels, rows, records } = evidence;
    let mut verdict = Verdict {
        committed: sold.len(),
        rolled_back: rolled_back.len(),
        records: records.len(),
        ..Verdict::default()
    };
    for row in rows {
        *verdict.states.entry(row.status.clone()).or_default() += 1;
    }
    let records_by_id = verdict.sort(evidence);
    let rows_by_id: HashMap<Uuid, &Row> = rows.iter().map(|row| (row.id, row)).collect();

    let mut newest_of_key: HashMap<(&str, &str), (Uuid, &Place)> = HashMap::new();
    for sold in sold {
        let case = Case {
            sold,
            due: Due::of(sold, sequels.get(&sold.id).copied()),
            row: rows_by_id.get(&sold.id).copied(),
            records: records_by_id.get(&sold.id).map_or(&[], |records| records),
        };
        verdict.records_due += case.due.log + case.due.request + case.due.reconciler;
        verdict.count_sends(&case);
        verdict.compare_row(&case);
        verdict.compare_records(&case);

        let Some(first) = case.sent_by(&Sender::Wal).next() else { continue };
        match newest_of_key.insert((&sold.topic, &sold.key), (sold.id, &first.place)) {
            Some((earlier, place)) if !comes_after(&first.place, place) => {
                verdict.out_of_order.push(format!(
                    "{} at {} was committed after {earlier} of the same key, which is at {place}",
                    sold.id, first.place
                ));
            }
            _ => {}
        }
    }
    verdict
}

/// The expected number of records of a row by sender, and of attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    log: usize,
    request: usize,
    reconciler: usize,
    attempts: i32,
}

impl Due {
    fn of(sold: &Sold, sequel: Option<Sequel>) -> Due {
        let due = |log, request, reconciler, attempts| Due { log, request, reconciler, attempts };
        match sequel {
            _ if !sold.well_formed => due(0, 0, 0, 0),
            None => due(1, 0, 0, 1),
            Some(Sequel::Replay) => due(1, 1, 0, 2),
            Some(Sequel::Deletion) => due(0, 0, 1, 2),
        }
    }
}

/// One committed row with its records.
struct Case<'a> {
    sold: &'a Sold,
    due: Due,
    row: Option<&'a Row>,
    records: &'a [&'a Record],
}

impl<'a> Case<'a> {
    fn sent_by<'s>(&'s self, sender: &'s Sender) -> impl Iterator<Item = &'a Record> + 's {
        self.records.iter().copied().filter(move |record| record.sender == *sender)
    }

    /// The records of a key are in one partition, where the newest is the last.
    fn newest(&self) -> Option<&'a Record> {
        self.records.iter().copied().max_by_key(|record| record.place.offset)
    }
}

impl Verdict {
    /// The records of committed rows, by id.
    fn sort<'a>(&mut self, evidence: Evidence<'a>) -> HashMap<Uuid, Vec<&'a Record>> {
        let committed: HashSet<Uuid> = evidence.sold.iter().map(|sold| sold.id).collect();
        let taken_back: HashSet<Uuid> = evidence.rolled_back.iter().copied().collect();
        let mut by_id: HashMap<Uuid, Vec<&Record>> = HashMap::new();
        for record in evidence.records {
            let place = &record.place;
            match record.id {
                None => self.unexpected.push(format!("a record without an id at {place}")),
                Some(id) if taken_back.contains(&id) => {
                    self.unexpected.push(format!("{id} was rolled back and has a record at {place}"));
                }
                Some(id) if !committed.contains(&id) => {
                    self.unexpected.push(format!("{id} was never committed and has a record at {place}"));
                }
                Some(id) => by_id.entry(id).or_default().push(record),
            }
        }
        for row in evidence.rows.iter().filter(|row| !committed.contains(&row.id)) {
            self.unexpected.push(format!("{} was never committed by the shop and is a row", row.id));
        }
        by_id
    }

    /// Checks that the row has the expected records, each by the expected sender.
    fn count_sends(&mut self, case: &Case<'_>) {
        let Case { sold: Sold { id, well_formed, .. }, due, row, .. } = case;
        let mut from_log = case.sent_by(&Sender::Wal);
        match (from_log.next(), due.log) {
            (None, 0) => {}
            (None, _) => self.lost.push(match row {
                Some(row) => format!("{id} is {} and has no record", row.status),
                None => format!("{id} has neither a record nor a row"),
            }),
            (Some(record), 0) => {
                let why = if *well_formed { "its record was deleted" } else { "it cannot be published" };
                self.unexpected.push(format!("{id} has a record at {}, although {why}", record.place));
            }
            (Some(first), _) => self.twice.extend(
                from_log.map(|more| format!("{id} is at {} and once more at {}", first.place, more.place)),
            ),
        }
        for (sender, due) in [(Sender::Request, due.request), (Sender::Reconciler, due.reconciler)] {
            let found: Vec<&Record> = case.sent_by(&sender).collect();
            let as_due = found.len().min(due);
            match sender {
                Sender::Request => self.replayed += as_due,
                _ => self.reconciled += as_due,
            }
            for record in &found[as_due..] {
                self.resent.push(format!("{id} was sent again by {sender} at {}", record.place));
            }
            if found.len() < due {
                self.resent.push(format!("{id} was not sent again by {sender} although expected"));
            }
        }
        let unknown = case.records.iter().filter(|record| matches!(record.sender, Sender::Unknown(_)));
        self.resent
            .extend(unknown.map(|record| format!("{id} was sent by {} at {}", record.sender, record.place)));
    }

    /// Checks the row's state, position, attempts and error.
    fn compare_row(&mut self, case: &Case<'_>) {
        let id = case.sold.id;
        let Some(row) = case.row else {
            let newest = case.newest().map(|newest| format!("; its record is at {}", newest.place));
            self.wrong_state.push(format!("{id} has no row{}", newest.unwrap_or_default()));
            return;
        };
        let place = row.place.as_ref().map_or(String::new(), |place| format!(" at {place}"));
        let actual = format!("{id} is {}{place}", row.status);
        match (&row.last_error, case.newest()) {
            (Some(error), _) if !case.sold.well_formed && row.status == "FAILED" => {
                self.explained.push(format!("{id}: {error}"));
            }
            _ if !case.sold.well_formed => {
                self.wrong_state
                    .push(format!("{actual}, not FAILED with a reason, although it cannot be published"));
            }
            (_, None) => {}
            (_, Some(newest)) if row.place.as_ref() != Some(&newest.place) => {
                self.wrong_state.push(format!("{actual}; its newest record is at {}", newest.place));
            }
            _ if row.status != "COMPLETE" => self.wrong_state.push(format!("{actual}, not COMPLETE")),
            _ if row.attempts != case.due.attempts => {
                let (attempts, due) = (row.attempts, case.due.attempts);
                self.wrong_state.push(format!("{actual} with {attempts} attempts; it was sent {due} times"));
            }
            _ => self.in_place += 1,
        }
    }

    /// Checks topic, key and value of each record against the row.
    fn compare_records(&mut self, case: &Case<'_>) {
        let Sold { id, topic, key, .. } = case.sold;
        for record in case.records {
            let place = &record.place;
            if place.topic != *topic || record.key.as_deref() != Some(key.as_bytes()) {
                let found = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                self.misplaced.push(format!(
                    "{id} belongs to {topic} under the key {key}; its record is at {place} under the key '{found}'"
                ));
            }
            let same = |row: &Row| row.payload.as_deref().map(str::as_bytes) == record.payload.as_deref();
            if case.row.is_some_and(|row| !same(row)) {
                self.altered.push(format!("{id} has another payload than its record at {place}"));
            }
        }
        // Otherwise no record is the newest.
        if let [first, others @ ..] = case.records
            && let Some(other) = others.iter().find(|other| other.place.partition != first.place.partition)
        {
            self.misplaced.push(format!("{id} is at {} and at {}", first.place, other.place));
        }
    }
}

/// Kafka orders records only within one partition.
fn comes_after(later: &Place, earlier: &Place) -> bool {
    later.topic == earlier.topic && later.partition == earlier.partition && later.offset > earlier.offset
}
