use std::collections::HashMap;

use uuid::Uuid;

use crate::proof::{Evidence, Place, Record, Row, Sender, Sequel, Sold, Verdict, examine};

/// A run in which all went well: two keys on two partitions, one row rolled back.
struct Run {
    sold: Vec<Sold>,
    rolled_back: Vec<Uuid>,
    sequels: HashMap<Uuid, Sequel>,
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
            sequels: HashMap::new(),
            rows: Vec::new(),
            records: Vec::new(),
        };
        for (number, key, place) in
            [(1, "a", place(0, 0)), (2, "b", place(1, 0)), (3, "a", place(0, 1)), (4, "b", place(1, 1))]
        {
            let id = Uuid::from_u128(number);
            let payload = format!("{{\"sequence\": {number}, \"customer\": \"Žofie\"}}");
            run.sold.push(Sold { id, topic: place.topic.clone(), key: key.to_owned(), well_formed: true });
            run.rows.push(Row {
                id,
                status: "COMPLETE".to_owned(),
                place: Some(place.clone()),
                payload: Some(payload.clone()),
                attempts: 1,
                last_error: None,
            });
            run.records.push(Record {
                place,
                id: Some(id),
                sender: Sender::Wal,
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
            sequels: &self.sequels,
            rows: &self.rows,
            records: &self.records,
        })
    }
}

/// The number of findings: lost, unexpected, twice, resent, wrong state, misplaced, out of order, altered.
fn findings(verdict: &Verdict) -> [usize; 8] {
    let findings = verdict.findings().map(|(_, found)| found.len());
    if findings != [0; 8] {
        assert!(!verdict.holds());
    }
    findings
}

#[test]
fn good_run_holds() {
    let verdict = Run::good().verdict();
    assert!(verdict.holds());
    assert_eq!(findings(&verdict), [0; 8]);
    let counts = (verdict.committed, verdict.rolled_back, verdict.records, verdict.in_place);
    assert_eq!(counts, (4, 1, 4, 4));
}

#[test]
fn row_still_publish_after_the_run_has_a_wrong_state() {
    let mut run = Run::good();
    run.rows[0].status = "PUBLISH".to_owned();
    assert_eq!(findings(&run.verdict()), [0, 0, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn run_without_committed_rows_does_not_hold() {
    let run =
        Run { sold: vec![], rolled_back: vec![], sequels: HashMap::new(), rows: vec![], records: vec![] };
    assert!(!run.verdict().holds());
}

#[test]
fn committed_row_without_a_record_is_lost() {
    let mut run = Run::good();
    run.records.remove(3);
    run.rows[3].status = "INIT".to_owned();
    let verdict = run.verdict();
    assert_eq!(findings(&verdict), [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(verdict.lost, [format!("{} is INIT and has no record", Uuid::from_u128(4))]);
}

#[test]
fn record_of_a_rolled_back_row_is_unexpected() {
    let mut run = Run::good();
    let ghost = Record { id: Some(Uuid::from_u128(99)), place: place(1, 2), ..run.records[0].clone() };
    run.records.push(ghost);
    let verdict = run.verdict();
    assert_eq!(findings(&verdict), [0, 1, 0, 0, 0, 0, 0, 0]);
    assert!(verdict.unexpected[0].contains("was rolled back"), "{:?}", verdict.unexpected);
}

#[test]
fn uncommitted_record_or_row_is_unexpected() {
    let mut run = Run::good();
    run.records.push(Record { id: None, place: place(1, 2), ..run.records[0].clone() });
    let stranger = Some(Uuid::from_u128(7));
    run.records.push(Record { id: stranger, place: place(1, 3), ..run.records[0].clone() });
    run.rows.push(Row { id: Uuid::from_u128(8), ..run.rows[0].clone() });
    assert_eq!(findings(&run.verdict()), [0, 3, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn row_with_two_records_was_sent_twice() {
    let mut run = Run::good();
    run.records.push(Record { place: place(0, 2), ..run.records[0].clone() });
    let verdict = run.verdict();
    assert_eq!(findings(&verdict), [0, 0, 1, 0, 1, 0, 0, 0]);
    assert!(!verdict.holds());
}

#[test]
fn row_with_another_position_has_a_wrong_state() {
    let mut run = Run::good();
    run.rows[2].place = Some(place(0, 0));
    let verdict = run.verdict();
    assert_eq!(findings(&verdict), [0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(verdict.in_place, 3);
}

#[test]
fn row_still_init_with_a_record_has_a_wrong_state() {
    let mut run = Run::good();
    run.rows[2].status = "INIT".to_owned();
    run.rows[2].place = None;
    assert_eq!(findings(&run.verdict()), [0, 0, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn committed_row_missing_from_the_table_has_a_wrong_state() {
    let mut run = Run::good();
    run.rows.remove(0);
    assert_eq!(findings(&run.verdict()), [0, 0, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn record_with_another_key_is_misplaced() {
    let mut run = Run::good();
    run.records[0].key = None;
    assert_eq!(findings(&run.verdict()), [0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn records_of_a_key_against_its_commit_order_are_out_of_order() {
    let mut run = Run::good();
    for number in [0, 2] {
        let swapped = place(0, if number == 0 { 1 } else { 0 });
        run.records[number].place = swapped.clone();
        run.rows[number].place = Some(swapped);
    }
    assert_eq!(findings(&run.verdict()), [0, 0, 0, 0, 0, 0, 1, 0]);
}

#[test]
fn records_of_a_key_on_two_partitions_have_no_order() {
    let mut run = Run::good();
    run.records[2].place = place(1, 7);
    run.rows[2].place = Some(place(1, 7));
    assert_eq!(findings(&run.verdict()), [0, 0, 0, 0, 0, 0, 1, 0]);
}

#[test]
fn reserialised_payload_is_altered() {
    let mut run = Run::good();
    run.records[1].payload = Some(b"{\"sequence\":2,\"customer\":\"\\u017dofie\"}".to_vec());
    run.records[3].payload = None;
    assert_eq!(findings(&run.verdict()), [0, 0, 0, 0, 0, 0, 0, 2]);
}

impl Run {
    /// Adds a record of the row at this index by another sender than the relay, and updates the row.
    fn send_again(&mut self, index: usize, sender: Sender, place: Place) {
        self.records.push(Record { sender, place: place.clone(), ..self.records[index].clone() });
        self.rows[index].place = Some(place);
        self.rows[index].attempts += 1;
    }
}

#[test]
fn replayed_row_has_the_position_of_its_newest_record() {
    let mut run = Run::good();
    run.sequels.insert(run.rows[0].id, Sequel::Replay);
    run.send_again(0, Sender::Request, place(0, 2));
    let verdict = run.verdict();
    assert!(verdict.holds(), "{verdict:?}");
    assert_eq!((verdict.records, verdict.records_due, verdict.replayed), (5, 5, 1));

    run.rows[0].place = Some(place(0, 0));
    let verdict = run.verdict();
    assert_eq!(findings(&verdict), [0, 0, 0, 0, 1, 0, 0, 0]);
    assert!(verdict.wrong_state[0].contains("its newest record is at"), "{:?}", verdict.wrong_state);
}

#[test]
fn replay_with_missing_extra_or_misattributed_records_does_not_hold() {
    let mut run = Run::good();
    run.sequels.insert(run.rows[0].id, Sequel::Replay);
    run.rows[0].attempts = 2;
    assert_eq!(findings(&run.verdict()), [0, 0, 0, 1, 0, 0, 0, 0]);

    let mut run = Run::good();
    run.sequels.insert(run.rows[0].id, Sequel::Replay);
    run.send_again(0, Sender::Reconciler, place(0, 2));
    assert_eq!(findings(&run.verdict()), [0, 0, 0, 2, 0, 0, 0, 0]);

    for sender in [Sender::Request, Sender::Reconciler, Sender::of(Some("me"))] {
        let mut run = Run::good();
        run.send_again(0, sender, place(0, 2));
        run.rows[0].attempts = 1;
        assert_eq!(findings(&run.verdict()), [0, 0, 0, 1, 0, 0, 0, 0]);
    }
}

#[test]
fn deleted_record_is_replaced_by_the_reconciler_only() {
    let mut run = Run::good();
    run.sequels.insert(run.rows[2].id, Sequel::Deletion);
    run.send_again(2, Sender::Reconciler, place(0, 2));
    run.records.remove(2);
    let verdict = run.verdict();
    assert!(verdict.holds(), "{verdict:?}");
    assert_eq!((verdict.records, verdict.records_due, verdict.reconciled), (4, 4, 1));

    run.records.pop();
    assert_eq!(findings(&run.verdict()), [0, 0, 0, 1, 0, 0, 0, 0]);
}

#[test]
fn attempts_equal_the_number_of_sends() {
    let mut run = Run::good();
    run.rows[1].attempts = 2;
    let verdict = run.verdict();
    assert_eq!(findings(&verdict), [0, 0, 0, 0, 1, 0, 0, 0]);
    assert!(
        verdict.wrong_state[0].ends_with("with 2 attempts; it was sent 1 times"),
        "{:?}",
        verdict.wrong_state
    );
}

#[test]
fn resent_records_are_exempt_from_the_order_of_their_key() {
    let mut run = Run::good();
    run.sequels.insert(run.rows[0].id, Sequel::Replay);
    run.sequels.insert(run.rows[2].id, Sequel::Replay);
    run.send_again(2, Sender::Request, place(0, 2));
    run.send_again(0, Sender::Request, place(0, 3));
    assert!(run.verdict().holds());
}

#[test]
fn unpublishable_row_is_explained_by_its_error() {
    let mut run = Run::good();
    run.sold[3].well_formed = false;
    run.records.remove(3);
    run.rows[3] = Row {
        status: "FAILED".to_owned(),
        place: None,
        attempts: 0,
        last_error: Some("its headers are no JSON object".to_owned()),
        ..run.rows[3].clone()
    };
    let verdict = run.verdict();
    assert!(verdict.holds(), "{verdict:?}");
    let explained = format!("{}: its headers are no JSON object", run.rows[3].id);
    assert_eq!((verdict.explained, verdict.records_due), (vec![explained], 3));

    run.rows[3].last_error = None;
    assert_eq!(findings(&run.verdict()), [0, 0, 0, 0, 1, 0, 0, 0]);
    run.rows[3].status = "INIT".to_owned();
    assert_eq!(findings(&run.verdict()), [0, 0, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn other_failed_row_is_not_explained() {
    let mut run = Run::good();
    run.rows[0].status = "FAILED".to_owned();
    run.rows[0].last_error = Some("too large".to_owned());
    assert_eq!(findings(&run.verdict()), [0, 0, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn record_of_an_unpublishable_row_is_unexpected() {
    let mut run = Run::good();
    run.sold[3].well_formed = false;
    run.rows[3].status = "FAILED".to_owned();
    run.rows[3].last_error = Some("its headers are no JSON object".to_owned());
    assert_eq!(findings(&run.verdict()), [0, 1, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn row_on_two_partitions_has_no_newest_record() {
    let mut run = Run::good();
    run.sequels.insert(run.rows[0].id, Sequel::Replay);
    run.send_again(0, Sender::Request, place(1, 9));
    assert_eq!(findings(&run.verdict()), [0, 0, 0, 0, 0, 1, 0, 0]);
}
