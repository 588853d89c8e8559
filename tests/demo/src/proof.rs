//! What the demo claims, decided from what was committed, what was done to it, what the rows say and what the
//! broker holds.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use uuid::Uuid;

/// Where a record is.
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

/// An outbox row the shop committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sold {
    pub(crate) id: Uuid,
    pub(crate) topic: String,
    pub(crate) key: String,
    /// Whether a record can be made of it.
    pub(crate) well_formed: bool,
}

/// What was done to a row after it had been published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sequel {
    /// A replay was asked for.
    Replay,
    /// Its record was deleted from the broker before anybody consumed it.
    Deletion,
}

/// A row as the outbox table has it after the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: Uuid,
    pub(crate) status: String,
    pub(crate) place: Option<Place>,
    pub(crate) payload: Option<String>,
    pub(crate) attempts: i32,
    pub(crate) last_error: Option<String>,
}

/// Why a record is there, by its header `postrider-replay`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The log brought the row: no such header.
    Log,
    /// A request, by its id.
    Request,
    /// The reconciler.
    Reconciler,
    /// Something the header may not say.
    Unknown(String),
}

impl Sender {
    pub(crate) fn of(header: Option<&str>) -> Sender {
        match header {
            None => Sender::Log,
            Some("reconciler") => Sender::Reconciler,
            Some(request) if Uuid::try_parse(request).is_ok() => Sender::Request,
            Some(other) => Sender::Unknown(other.to_owned()),
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sender::Log => f.write_str("the log"),
            Sender::Request => f.write_str("a request"),
            Sender::Reconciler => f.write_str("the reconciler"),
            Sender::Unknown(header) => write!(f, "'{header}'"),
        }
    }
}

/// A record as the broker has it after the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) place: Place,
    /// The header `id`, where it is a UUID.
    pub(crate) id: Option<Uuid>,
    pub(crate) sender: Sender,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) payload: Option<Vec<u8>>,
}

/// Everything the verdict is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    /// The committed rows; the rows of one key are in their commit order.
    pub(crate) sold: &'a [Sold],
    pub(crate) rolled_back: &'a [Uuid],
    pub(crate) sequels: &'a HashMap<Uuid, Sequel>,
    pub(crate) rows: &'a [Row],
    pub(crate) records: &'a [Record],
}

/// What was found; each finding is a sentence about one row or record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) committed: usize,
    pub(crate) rolled_back: usize,
    /// How many rows of the table say what.
    pub(crate) states: BTreeMap<String, usize>,
    pub(crate) records: usize,
    /// How many records there should be.
    pub(crate) records_due: usize,
    /// Records sent again, each for its reason: by a request, by the reconciler.
    pub(crate) replayed: usize,
    pub(crate) reconciled: usize,
    /// Rows that say COMPLETE at the place where their newest record is.
    pub(crate) in_place: usize,
    /// Rows no record can be made of that say FAILED and why.
    pub(crate) explained: Vec<String>,
    /// Committed rows without the record they should have.
    pub(crate) lost: Vec<String>,
    /// Records and rows nobody committed.
    pub(crate) unexpected: Vec<String>,
    /// Further records of a row the log brought once.
    pub(crate) twice: Vec<String>,
    /// Records sent again without a reason, and rows that were to be sent again and were not.
    pub(crate) resent: Vec<String>,
    /// Rows whose state, place, attempts or error are not what happened.
    pub(crate) untrue: Vec<String>,
    /// Records on another topic or under another key.
    pub(crate) misplaced: Vec<String>,
    /// Records that come before one their key's earlier commit made.
    pub(crate) out_of_order: Vec<String>,
    /// Records whose value is not the row's payload, byte for byte.
    pub(crate) altered: Vec<String>,
}

impl Verdict {
    /// Whether something was committed, and every row of it is COMPLETE where it belongs, or explained.
    pub(crate) fn holds(&self) -> bool {
        let settled = self.in_place + self.explained.len() == self.committed;
        self.committed > 0 && settled && self.findings().iter().all(|(_, found)| found.is_empty())
    }

    /// Everything that may not be, by its name.
    pub(crate) fn findings(&self) -> [(&'static str, &[String]); 8] {
        [
            ("lost", &self.lost),
            ("unexpected", &self.unexpected),
            ("sent twice", &self.twice),
            ("sent again without a reason, or not although asked", &self.resent),
            ("rows that do not say what happened", &self.untrue),
            ("records on another topic or under another key", &self.misplaced),
            ("out of order within their key", &self.out_of_order),
            ("payloads that differ from their row's", &self.altered),
        ]
    }
}

/// Compares what was committed with what is there.
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

        let Some(first) = case.sent_by(&Sender::Log).next() else { continue };
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

/// How many records of a row there should be, by their sender, and how often it was sent.
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

/// All there is about one committed row.
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

    /// Whether the row has the records it should have, each by the right sender.
    fn count_sends(&mut self, case: &Case<'_>) {
        let Case { sold: Sold { id, well_formed, .. }, due, row, .. } = case;
        let mut from_log = case.sent_by(&Sender::Log);
        match (from_log.next(), due.log) {
            (None, 0) => {}
            (None, _) => self.lost.push(match row {
                Some(row) => format!("{id} says {} and has no record", row.status),
                None => format!("{id} has neither a record nor a row"),
            }),
            (Some(record), 0) => {
                let why = if *well_formed { "its record was deleted" } else { "no record can be made of it" };
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
                self.resent.push(format!("{id} was to be sent again by {sender} and was not"));
            }
        }
        let unknown = case.records.iter().filter(|record| matches!(record.sender, Sender::Unknown(_)));
        self.resent
            .extend(unknown.map(|record| format!("{id} was sent by {} at {}", record.sender, record.place)));
    }

    /// Whether the row says what happened to it.
    fn compare_row(&mut self, case: &Case<'_>) {
        let id = case.sold.id;
        let Some(row) = case.row else {
            let newest = case.newest().map(|newest| format!("; its record is at {}", newest.place));
            self.untrue.push(format!("{id} has no row{}", newest.unwrap_or_default()));
            return;
        };
        let place = row.place.as_ref().map_or(String::new(), |place| format!(" at {place}"));
        let says = format!("{id} says {}{place}", row.status);
        match (&row.last_error, case.newest()) {
            (Some(error), _) if !case.sold.well_formed && row.status == "FAILED" => {
                self.explained.push(format!("{id}: {error}"));
            }
            _ if !case.sold.well_formed => {
                self.untrue.push(format!("{says}, not FAILED and why, and no record can be made of it"));
            }
            (_, None) => {}
            (_, Some(newest)) if row.place.as_ref() != Some(&newest.place) => {
                self.untrue.push(format!("{says}; its newest record is at {}", newest.place));
            }
            _ if row.status != "COMPLETE" => self.untrue.push(format!("{says}, not COMPLETE")),
            _ if row.attempts != case.due.attempts => {
                let (said, due) = (row.attempts, case.due.attempts);
                self.untrue.push(format!("{says} and counts {said} attempts; it was sent {due} times"));
            }
            _ => self.in_place += 1,
        }
    }

    /// Whether each record is the row's.
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
        // Else "the newest" means nothing.
        if let [first, others @ ..] = case.records
            && let Some(other) = others.iter().find(|other| other.place.partition != first.place.partition)
        {
            self.misplaced.push(format!("{id} is at {} and at {}", first.place, other.place));
        }
    }
}

/// Kafka orders the records of one partition and no others.
fn comes_after(later: &Place, earlier: &Place) -> bool {
    later.topic == earlier.topic && later.partition == earlier.partition && later.offset > earlier.offset
}
