//! `postrider replay` against a running relay, and without one.

use std::collections::HashSet;
use std::thread;

use integration_tests::{Load, NewRow, Stage, assert_keys_in_order, sell, wait_until};

fn complete(stage: &Stage<'_>, rows: i64) {
    for number in 0..rows {
        stage.insert(&NewRow::of("again", number % 5, number));
    }
    wait_until("all is complete", || stage.count("COMPLETE") == rows);
}

fn sent_by(stage: &Stage<'_>, request: Option<&str>) -> usize {
    let is_of = |value: Option<&[u8]>| match (value, request) {
        (Some(value), Some(request)) => value == request.as_bytes(),
        (Some(_), None) => true,
        (None, _) => false,
    };
    stage.records().iter().filter(|record| is_of(record.header("postrider-replay"))).count()
}

#[test]
fn a_running_relay_sends_again_what_is_asked_for_with_its_id_key_and_time_and_the_state_never_goes_back() {
    let stage = Stage::builder().whole_life().build();
    let relay = stage.relay();
    complete(&stage, 30);
    let before = stage.rows();
    let said = stage.says(&["replay", "--aggregate-id", "3", "--wait"]);
    assert!(said.contains("6 sent"), "{said}");
    assert!(relay.stop().success());
    let records = stage.records();
    let again: Vec<_> = records.iter().filter(|record| record.header("postrider-replay").is_some()).collect();
    assert_eq!(again.len(), 6);
    for record in again {
        let first = records.iter().find(|r| r.id() == record.id()).expect("its first record");
        assert_eq!(
            (&first.key, &first.value, first.timestamp_ms),
            (&record.key, &record.value, record.timestamp_ms)
        );
        let row = stage.row(record.id());
        assert_eq!((row.status.as_str(), row.attempts), ("COMPLETE", 2));
        assert_eq!(row.place.expect("a place").2, record.offset, "the place is the newest record's");
    }
    let untouched = before.iter().filter(|row| row.aggregate_id != "3").count();
    assert_eq!(stage.rows().iter().filter(|row| row.attempts == 1).count(), untouched);
}

#[test]
fn without_a_relay_the_command_sends_by_itself_and_nothing_else() {
    let stage = Stage::builder().whole_life().build();
    let relay = stage.relay();
    complete(&stage, 20);
    assert!(relay.stop().success());
    // What waits in the log waits on.
    stage.insert(&NewRow::of("again", 1, 100));
    let id = stage.rows()[0].id.to_string();
    let said = stage.says(&["replay", "--id", &id]);
    assert!(said.contains("1 sent"), "{said}");
    assert_eq!((sent_by(&stage, None), stage.count("INIT")), (1, 1));
    let relay = stage.relay();
    wait_until("the waiting row is complete", || stage.count("COMPLETE") == 21);
    assert!(relay.stop().success());
    assert_eq!(stage.records().len(), 22);
}

#[test]
fn rows_that_are_in_the_log_are_sent_once_whoever_asks_for_them() {
    let stage = Stage::builder().whole_life().build();
    for number in 0..100 {
        stage.insert(&NewRow::of("early", number % 5, number));
    }
    let said = stage.says(&["replay", "--status", "INIT"]);
    assert!(said.contains("100 sent"), "{said}");
    let relay = stage.relay();
    wait_until("all is complete", || stage.count("COMPLETE") == 100);
    assert!(relay.stop().success());
    assert_eq!(stage.records().len(), 100, "the relay did not send them once more");
}

#[test]
fn two_replays_and_live_traffic_on_the_same_keys_leave_the_order_of_live_rows_intact() {
    let stage = Stage::builder().whole_life().build();
    let relay = stage.relay();
    let load = Load::default();
    let total = thread::scope(|scope| {
        let until_ended = load.until_dropped();
        let writer = scope.spawn(|| sell(&stage, &load));
        wait_until("there is something to send again", || stage.count("COMPLETE") > 300);
        let replays = [
            &["replay", "--all", "--limit", "300", "--wait"][..],
            &["replay", "--status", "COMPLETE", "--limit", "200", "--wait"],
        ];
        let running: Vec<_> = replays.map(|arguments| scope.spawn(|| stage.says(arguments))).into();
        for replay in running {
            let said = replay.join().expect("it ends");
            assert!(said.contains("300 sent") || said.contains("200 sent"), "{said}");
        }
        drop(until_ended);
        writer.join().expect("the writer ends")
    });
    wait_until("all is complete", || stage.count("COMPLETE") == total);
    assert!(relay.stop().success());
    let mut live = stage.records();
    assert_eq!(live.len() as i64, total + 500);
    live.retain(|record| record.header("postrider-replay").is_none());
    assert_eq!(live.len() as i64, total, "each live row once");
    assert_keys_in_order(&live);
}

#[test]
fn a_replay_that_is_killed_goes_on_where_it_was_and_no_row_is_skipped() {
    let stage = Stage::builder().whole_life().build();
    let relay = stage.relay();
    complete(&stage, 400);
    assert!(relay.stop().success());
    let rows: HashSet<_> = stage.rows().iter().map(|row| row.id).collect();
    for round in 1..=2 {
        let replay = stage.begin(&["replay", "--all", "--rate", "60"]);
        wait_until("it is under way", || sent_by(&stage, None) > round * 60);
        replay.kill();
    }
    // The relay finds it unfinished, and goes on.
    let relay = stage.relay();
    let unfinished = "select count(*) from postrider.replay where state in ('queued', 'running')";
    wait_until("it is finished", || {
        stage.client().query_one(unfinished, &[]).expect("counted").get::<_, i64>(0) == 0
    });
    assert!(relay.stop().success());
    let mut records = stage.records();
    records.retain(|record| record.header("postrider-replay").is_some());
    let sent: HashSet<_> = records.iter().map(integration_tests::Record::id).collect();
    assert_eq!(sent, rows, "no row is skipped");
    assert!(records.len() < 800, "and it did not begin anew: {} records", records.len());
    let requests: i64 =
        stage.client().query_one("select count(*) from postrider.replay", &[]).expect("counted").get(0);
    assert_eq!(requests, 1, "the same command goes on with the same request");
}

#[test]
fn a_dry_run_counts_and_touches_nothing() {
    let stage = Stage::builder().whole_life().build();
    let relay = stage.relay();
    complete(&stage, 10);
    let rows = stage.rows().len();
    let said = stage.says(&["replay", "--all", "--dry-run"]);
    assert!(
        said.contains(&stage.topic("again")) && said.contains("COMPLETE") && said.contains("10"),
        "{said}"
    );
    assert!(relay.stop().success());
    assert_eq!((stage.records().len(), stage.rows().len()), (10, rows));
    let requests: i64 =
        stage.client().query_one("select count(*) from postrider.replay", &[]).expect("counted").get(0);
    assert_eq!(requests, 0);
}

#[test]
fn several_requests_queue_and_one_can_be_cancelled() {
    let stage = Stage::builder().whole_life().build();
    let relay = stage.relay();
    complete(&stage, 100);
    stage.says(&["replay", "--all", "--rate", "5"]);
    stage.says(&["replay", "--all", "--limit", "7"]);
    let ids = "select id::text from postrider.replay order by requested_at";
    let ids: Vec<String> =
        stage.client().query(ids, &[]).expect("read").iter().map(|row| row.get(0)).collect();
    wait_until("the first is under way", || sent_by(&stage, Some(&ids[0])) > 0);
    assert_eq!(sent_by(&stage, Some(&ids[1])), 0, "the second waits for its turn");
    assert!(stage.says(&["status"]).contains(&ids[1]));
    stage.says(&["replay", "--cancel", &ids[0]]);
    wait_until("the second is done", || sent_by(&stage, Some(&ids[1])) == 7);
    assert!(sent_by(&stage, Some(&ids[0])) < 100);
    assert!(relay.stop().success());
}

/// Any role may emit a message.
#[test]
fn a_message_that_announces_nothing_is_ignored_and_the_stream_goes_on() {
    let stage = Stage::builder().whole_life().build();
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    for content in ["", "nonsense", "018f4c2e-0000-7000-8000-000000000000"] {
        let sql = "select pg_logical_emit_message(true, 'postrider.replay', $1::text)";
        stage.client().execute(sql, &[&content]).expect("emitted");
    }
    complete(&stage, 5);
    relay.wait_for_log("ignored");
    assert_eq!(sent_by(&stage, None), 0);
    assert!(relay.stop().success());
}

#[test]
fn what_matches_nothing_says_so_and_is_no_failure() {
    let stage = Stage::builder().whole_life().build();
    let output = stage.postrider(&["replay", "--aggregate-type", "absent"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("no row"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
