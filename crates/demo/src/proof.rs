//! What the demo claims, decided from what was committed, what the rows say and what the broker holds.

use std::collections::{HashMap, HashSet};
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
}

/// A row as the outbox table has it after the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: Uuid,
    pub(crate) status: String,
    pub(crate) place: Option<Place>,
    pub(crate) payload: Option<String>,
}

/// A record as the broker has it after the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) place: Place,
    /// The header `id`, where it is a UUID.
    pub(crate) id: Option<Uuid>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) payload: Option<Vec<u8>>,
}

/// Everything the verdict is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    /// The committed rows; the rows of one key are in their commit order.
    pub(crate) sold: &'a [Sold],
    pub(crate) rolled_back: &'a [Uuid],
    pub(crate) rows: &'a [Row],
    pub(crate) records: &'a [Record],
}

/// What was found; each finding is a sentence about one row or record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) committed: usize,
    pub(crate) rolled_back: usize,
    pub(crate) records: usize,
    /// Rows that say PUBLISH (or COMPLETE) at the place where their record is.
    pub(crate) in_place: usize,
    /// Committed rows without a record.
    pub(crate) lost: Vec<String>,
    /// Records and rows nobody committed.
    pub(crate) unexpected: Vec<String>,
    /// Further records of a row that has one.
    pub(crate) twice: Vec<String>,
    /// Rows that do not say where their record is, and records on another topic or under another key.
    pub(crate) misplaced: Vec<String>,
    /// Records that come before one their key's earlier commit made.
    pub(crate) out_of_order: Vec<String>,
    /// Records whose value is not the row's payload, byte for byte.
    pub(crate) altered: Vec<String>,
}

impl Verdict {
    /// Whether something was committed and all of it is where it belongs.
    pub(crate) fn holds(&self) -> bool {
        let findings =
            [&self.lost, &self.unexpected, &self.twice, &self.misplaced, &self.out_of_order, &self.altered];
        self.committed > 0 && self.in_place == self.committed && findings.iter().all(|found| found.is_empty())
    }
}

/// Compares what was committed with what is there.
pub(crate) fn examine(evidence: Evidence<'_>) -> Verdict {
    let Evidence { sold, rolled_back, rows, records } = evidence;
    let mut verdict = Verdict {
        committed: sold.len(),
        rolled_back: rolled_back.len(),
        records: records.len(),
        ..Verdict::default()
    };
    let committed: HashSet<Uuid> = sold.iter().map(|sold| sold.id).collect();
    let taken_back: HashSet<Uuid> = rolled_back.iter().copied().collect();
    let rows_by_id: HashMap<Uuid, &Row> = rows.iter().map(|row| (row.id, row)).collect();

    let mut records_by_id: HashMap<Uuid, &Record> = HashMap::new();
    for record in records {
        let place = &record.place;
        match record.id {
            None => verdict.unexpected.push(format!("a record without an id at {place}")),
            Some(id) if taken_back.contains(&id) => {
                verdict.unexpected.push(format!("{id} was rolled back and has a record at {place}"));
            }
            Some(id) if !committed.contains(&id) => {
                verdict.unexpected.push(format!("{id} was never committed and has a record at {place}"));
            }
            Some(id) => match records_by_id.get(&id) {
                Some(first) => {
                    verdict.twice.push(format!("{id} is at {} and once more at {place}", first.place));
                }
                None => drop(records_by_id.insert(id, record)),
            },
        }
    }
    for row in rows.iter().filter(|row| !committed.contains(&row.id)) {
        verdict.unexpected.push(format!("{} was never committed by the shop and is a row", row.id));
    }

    let mut newest_of_key: HashMap<(&str, &str), (Uuid, &Place)> = HashMap::new();
    for Sold { id, topic, key } in sold {
        let row = rows_by_id.get(id).copied();
        let Some(record) = records_by_id.get(id).copied() else {
            verdict.lost.push(match row {
                Some(row) => format!("{id} says {} and has no record", row.status),
                None => format!("{id} has neither a record nor a row"),
            });
            continue;
        };
        match row {
            Some(row) if says_its_place(row, &record.place) => verdict.in_place += 1,
            Some(row) => verdict.misplaced.push(format!(
                "{id} says {}{}; its record is at {}",
                row.status,
                row.place.as_ref().map_or(String::new(), |place| format!(" at {place}")),
                record.place,
            )),
            None => verdict.misplaced.push(format!("{id} has no row; its record is at {}", record.place)),
        }
        if record.place.topic != *topic || record.key.as_deref() != Some(key.as_bytes()) {
            let found = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            verdict.misplaced.push(format!(
                "{id} belongs to {topic} under the key {key}; its record is at {} under the key '{found}'",
                record.place
            ));
        }
        if row.is_some_and(|row| row.payload.as_deref().map(str::as_bytes) != record.payload.as_deref()) {
            verdict.altered.push(format!("{id} has another payload than its record at {}", record.place));
        }
        match newest_of_key.insert((topic, key), (*id, &record.place)) {
            Some((earlier, place)) if !comes_after(&record.place, place) => {
                verdict.out_of_order.push(format!(
                    "{id} at {} was committed after {earlier} of the same key, which is at {place}",
                    record.place
                ));
            }
            _ => {}
        }
    }
    verdict
}

fn says_its_place(row: &Row, place: &Place) -> bool {
    ["PUBLISH", "COMPLETE"].contains(&&*row.status) && row.place.as_ref() == Some(place)
}

/// Kafka orders the records of one partition and no others.
fn comes_after(later: &Place, earlier: &Place) -> bool {
    later.topic == earlier.topic && later.partition == earlier.partition && later.offset > earlier.offset
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run in which all went well: two keys on two partitions, one row rolled back.
    struct Run {
        sold: Vec<Sold>,
        rolled_back: Vec<Uuid>,
        rows: Vec<Row>,
        records: Vec<Record>,
    }

    fn place(partition: i32, offset: i64) -> Place {
        Place { topic: "outbox.event.order".to_owned(), partition, offset }
    }

    impl Run {
        fn good() -> Run {
            let mut run = Run {
                sold: Vec::new(),
                rolled_back: vec![Uuid::from_u128(99)],
                rows: Vec::new(),
                records: Vec::new(),
            };
            for (number, key, place) in
                [(1, "a", place(0, 0)), (2, "b", place(1, 0)), (3, "a", place(0, 1)), (4, "b", place(1, 1))]
            {
                let id = Uuid::from_u128(number);
                let payload = format!("{{\"sequence\": {number}, \"customer\": \"Žofie\"}}");
                run.sold.push(Sold { id, topic: place.topic.clone(), key: key.to_owned() });
                run.rows.push(Row {
                    id,
                    status: "PUBLISH".to_owned(),
                    place: Some(place.clone()),
                    payload: Some(payload.clone()),
                });
                run.records.push(Record {
                    place,
                    id: Some(id),
                    key: Some(key.as_bytes().to_vec()),
                    payload: Some(payload.into_bytes()),
                });
            }
            run
        }

        fn verdict(&self) -> Verdict {
            examine(Evidence {
                sold: &self.sold,
                rolled_back: &self.rolled_back,
                rows: &self.rows,
                records: &self.records,
            })
        }
    }

    /// The number of findings: lost, unexpected, twice, misplaced, out of order, altered.
    fn findings(verdict: &Verdict) -> [usize; 6] {
        assert_eq!(
            verdict.holds(),
            verdict.in_place == verdict.committed && verdict.committed > 0 && {
                let Verdict { lost, unexpected, twice, misplaced, out_of_order, altered, .. } = verdict;
                [lost, unexpected, twice, misplaced, out_of_order, altered]
                    .iter()
                    .all(|found| found.is_empty())
            }
        );
        [
            verdict.lost.len(),
            verdict.unexpected.len(),
            verdict.twice.len(),
            verdict.misplaced.len(),
            verdict.out_of_order.len(),
            verdict.altered.len(),
        ]
    }

    #[test]
    fn a_run_in_which_all_went_well_holds() {
        let verdict = Run::good().verdict();
        assert!(verdict.holds());
        assert_eq!(findings(&verdict), [0; 6]);
        let counts = (verdict.committed, verdict.rolled_back, verdict.records, verdict.in_place);
        assert_eq!(counts, (4, 1, 4, 4));
    }

    #[test]
    fn complete_at_the_right_place_is_as_good_as_publish() {
        let mut run = Run::good();
        run.rows[0].status = "COMPLETE".to_owned();
        assert!(run.verdict().holds());
    }

    #[test]
    fn a_run_in_which_nothing_was_committed_proves_nothing() {
        let run = Run { sold: vec![], rolled_back: vec![], rows: vec![], records: vec![] };
        assert!(!run.verdict().holds());
    }

    #[test]
    fn a_committed_row_without_a_record_is_lost() {
        let mut run = Run::good();
        run.records.remove(3);
        run.rows[3].status = "INIT".to_owned();
        let verdict = run.verdict();
        assert_eq!(findings(&verdict), [1, 0, 0, 0, 0, 0]);
        assert_eq!(verdict.lost, [format!("{} says INIT and has no record", Uuid::from_u128(4))]);
    }

    #[test]
    fn a_record_of_a_rolled_back_row_is_unexpected() {
        let mut run = Run::good();
        let ghost = Record { id: Some(Uuid::from_u128(99)), place: place(1, 2), ..run.records[0].clone() };
        run.records.push(ghost);
        let verdict = run.verdict();
        assert_eq!(findings(&verdict), [0, 1, 0, 0, 0, 0]);
        assert!(verdict.unexpected[0].contains("was rolled back"), "{:?}", verdict.unexpected);
    }

    #[test]
    fn a_record_or_a_row_nobody_committed_is_unexpected() {
        let mut run = Run::good();
        run.records.push(Record { id: None, place: place(1, 2), ..run.records[0].clone() });
        let stranger = Some(Uuid::from_u128(7));
        run.records.push(Record { id: stranger, place: place(1, 3), ..run.records[0].clone() });
        run.rows.push(Row { id: Uuid::from_u128(8), ..run.rows[0].clone() });
        assert_eq!(findings(&run.verdict()), [0, 3, 0, 0, 0, 0]);
    }

    #[test]
    fn a_row_with_two_records_was_sent_twice() {
        let mut run = Run::good();
        run.records.push(Record { place: place(0, 2), ..run.records[0].clone() });
        let verdict = run.verdict();
        assert_eq!(findings(&verdict), [0, 0, 1, 0, 0, 0]);
        assert!(!verdict.holds());
    }

    #[test]
    fn a_row_that_names_another_place_is_misplaced() {
        let mut run = Run::good();
        run.rows[2].place = Some(place(0, 0));
        let verdict = run.verdict();
        assert_eq!(findings(&verdict), [0, 0, 0, 1, 0, 0]);
        assert_eq!(verdict.in_place, 3);
    }

    #[test]
    fn a_row_that_still_says_init_is_misplaced_though_its_record_is_there() {
        let mut run = Run::good();
        run.rows[2].status = "INIT".to_owned();
        run.rows[2].place = None;
        assert_eq!(findings(&run.verdict()), [0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_committed_row_that_is_gone_from_the_table_is_misplaced() {
        let mut run = Run::good();
        run.rows.remove(0);
        assert_eq!(findings(&run.verdict()), [0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_record_under_another_key_is_misplaced() {
        let mut run = Run::good();
        run.records[0].key = None;
        assert_eq!(findings(&run.verdict()), [0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn records_of_a_key_against_its_commit_order_are_out_of_order() {
        let mut run = Run::good();
        for number in [0, 2] {
            let swapped = place(0, if number == 0 { 1 } else { 0 });
            run.records[number].place = swapped.clone();
            run.rows[number].place = Some(swapped);
        }
        assert_eq!(findings(&run.verdict()), [0, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn records_of_a_key_on_two_partitions_have_no_order() {
        let mut run = Run::good();
        run.records[2].place = place(1, 7);
        run.rows[2].place = Some(place(1, 7));
        assert_eq!(findings(&run.verdict()), [0, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn a_payload_that_was_written_anew_is_altered() {
        let mut run = Run::good();
        run.records[1].payload = Some(b"{\"sequence\":2,\"customer\":\"\\u017dofie\"}".to_vec());
        run.records[3].payload = None;
        assert_eq!(findings(&run.verdict()), [0, 0, 0, 0, 0, 2]);
    }
}
