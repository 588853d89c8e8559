//! Receipts: PUBLISH → COMPLETE.

use std::thread;

use integration_tests::{
    Load, NewRow, Stage, assert_keys_in_order, consumed, delivered_once, sell, wait_until,
};

fn assert_complete_at_record_position(stage: &Stage<'_>) {
    let (rows, records) = (stage.rows(), stage.records());
    let found = delivered_once(&rows, &records);
    for row in &rows {
        let record = found[&row.id];
        assert_eq!(row.status, "COMPLETE", "row {}", row.id);
        assert_eq!(
            row.place,
            Some((record.topic.clone(), record.partition, record.offset)),
            "row {}",
            row.id
        );
        assert_eq!(row.attempts, 1, "row {row:?} was sent once");
    }
    assert_keys_in_order(&records);
}

#[test]
fn consumed_row_is_complete_with_position_and_times() {
    let stage = Stage::builder().whole_life().build();
    let relay = stage.relay();
    for number in 0..300 {
        stage.insert(&NewRow::of("read", number % 7, number));
    }
    wait_until("all rows are complete", || stage.count("COMPLETE") == 300);
    assert!(relay.stop().success());
    assert_complete_at_record_position(&stage);
    let sql = "select count(*) from outbox where published_at is null or completed_at is null \
               or completed_at < published_at or last_attempt_at is null";
    let odd: i64 = stage.client().query_one(sql, &[]).expect("counted").get(0);
    assert_eq!(odd, 0);
}

#[test]
fn topic_created_while_the_relay_runs_is_read_from_its_beginning() {
    let stage = Stage::builder().whole_life().build();
    let relay = stage.relay();
    stage.insert(&NewRow::of("first", 1, 1));
    wait_until("the first is complete", || stage.count("COMPLETE") == 1);
    for number in 0..20 {
        stage.insert(&NewRow::of(&format!("new-{}", number % 4), number, number));
    }
    wait_until("all rows are complete", || stage.count("COMPLETE") == 21);
    assert!(relay.stop().success());
    assert_complete_at_record_position(&stage);
}

/// Receipts of killed relays are repeated; none is skipped.
#[test]
fn sigkill_under_load_leaves_every_row_complete_at_its_own_record() {
    let stage = Stage::builder().whole_life().build();
    let load = Load::default();
    let total = thread::scope(|scope| {
        let until_ended = load.until_dropped();
        let writer = scope.spawn(|| sell(&stage, &load));
        for round in 1..=4 {
            let mut relay = stage.relay();
            relay.wait_until_streaming();
            wait_until("some rows are complete in this round", || stage.count("COMPLETE") > round * 50);
            relay.kill();
        }
        drop(until_ended);
        writer.join().expect("the writer ends")
    });
    let relay = stage.relay();
    wait_until("all rows are complete", || stage.count("COMPLETE") == total);
    assert!(relay.stop().success());
    let records = stage.records();
    for row in stage.rows() {
        let place = row.place.expect("a place");
        let record =
            records.iter().find(|r| (&*r.topic, r.partition, r.offset) == (&*place.0, place.1, place.2));
        assert_eq!(record.expect("the record is there").id(), row.id);
    }
}

#[test]
fn followed_groups_complete_a_row_once_all_have_consumed_it() {
    let stage = Stage::builder()
        .whole_life()
        .setting("POSTRIDER_RECEIPTS_FOLLOW", "ecommerce-followed,billing-followed")
        .build();
    stage.create_topic("business", 2, &[]);
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    for number in 0..40 {
        stage.insert(&NewRow::of("business", number % 5, number));
    }
    wait_until("all rows are published", || stage.count("PUBLISH") == 40);
    consumed(&stage, "ecommerce-followed", "business");
    // If one group were enough, these would be complete before the others.
    for number in 40..50 {
        stage.insert(&NewRow::of("business", number % 5, number));
    }
    wait_until("the later ones are published", || stage.count("PUBLISH") == 50);
    consumed(&stage, "billing-followed", "business");
    wait_until("the rows that both have consumed are complete", || stage.count("COMPLETE") == 40);
    let later = "select count(*) from outbox where status = 'COMPLETE' and (payload #>> '{}')::int >= 40";
    let later: i64 = stage.client().query_one(later, &[]).expect("counted").get(0);
    assert_eq!(later, 0, "rows that only one group has consumed are not complete");
    consumed(&stage, "ecommerce-followed", "business");
    wait_until("all rows are complete", || stage.count("COMPLETE") == 50);
    assert!(relay.stop().success());
    assert_complete_at_record_position(&stage);
}

/// A failing consumer does not affect the service: the payment commits, and its row shows that the data platform has
/// not consumed it.
#[test]
fn payment_commits_and_its_row_stays_publish_while_its_consumer_always_fails() {
    let stage =
        Stage::builder().whole_life().setting("POSTRIDER_RECEIPTS_FOLLOW", "failing-platform").build();
    let mut client = stage.client();
    client.batch_execute("create table payment (id int primary key)").expect("a table");
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    let mut transaction = client.transaction().expect("begins");
    transaction.execute("insert into payment values (1)", &[]).expect("paid");
    NewRow::of("payment", 1, 1).insert(&mut transaction).expect("inserted");
    transaction.commit().expect("commits");
    wait_until("it is published", || stage.count("PUBLISH") == 1);
    // The deadline passes several times; the platform reads, fails and commits nothing.
    let asked = "did_several_deadlines_pass";
    let since: f64 = client.query_one("select extract(epoch from now())::float8", &[]).expect(asked).get(0);
    wait_until("five deadlines have passed", || {
        let now: f64 = client.query_one("select extract(epoch from now())::float8", &[]).expect(asked).get(0);
        now - since > 10.0
    });
    assert_eq!(stage.count("PUBLISH"), 1);
    assert_eq!(stage.records().len(), 1, "it was not sent again");
    let paid: i64 = client.query_one("select count(*) from payment", &[]).expect("counted").get(0);
    assert_eq!(paid, 1);
    assert!(relay.stop().success());
}
