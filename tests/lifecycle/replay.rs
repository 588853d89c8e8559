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
fn running_relay_resends_selected_rows_with_the_id_of_the_request_and_keeps_their_states() {
    let stage = Stage::builder().whole_life().build();
    let relay = stage.relay();
    complete(&stage, 30);
    let before = stage.rows();
    let output = stage.stdout_of(&["replay", "--aggregate-id", "3", "--wait"]);
    assert!(output.contains("6 sent"), "{output}");
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
        assert_eq!(
            row.place.expect("a position").2,
            record.offset,
            "the position is that of the newest record"
        );
    }
    let untouched = before.iter().filter(|row| row.aggregate_id != "3").count();
    assert_eq!(stage.rows().iter().filter(|row| row.attempts == 1).count(), untouched);
}

#[test]
fn command_without_a_relay_sends_the_selected_rows_and_nothing_else() {
    let stage = Stage::builder().whole_life().build();
    let relay = stage.relay();
    complete(&stage, 20);
    assert!(relay.stop().success());
    // It waits in the WAL.
    stage.insert(&NewRow::of("again", 1, 100));
    let id = stage.rows()[0].id.to_string();
    let output = stage.stdout_of(&["replay", "--id", &id]);
    assert!(output.contains("1 sent"), "{output}");
    assert_eq!((sent_by(&stage, None), stage.count("INIT")), (1, 1));
    let relay = stage.relay();
    wait_until("the waiting row is complete", || stage.count("COMPLETE") == 21);
    assert!(relay.stop().success());
    assert_eq!(stage.records().len(), 22);
}

#[test]
fn init_rows_replayed_without_a_relay_are_not_sent_again_by_the_relay() {
    let stage = Stage::builder().whole_life().build();
    for number in 0..100 {
        stage.insert(&NewRow::of("early", number % 5, number));
    }
    let output = stage.stdout_of(&["replay", "--status", "INIT"]);
    assert!(output.contains("100 sent"), "{output}");
    let relay = stage.relay();
    wait_until("all is complete", || stage.count("COMPLETE") == 100);
    assert!(relay.stop().success());
    assert_eq!(stage.records().len(), 100, "the relay did not send them once more");
}

#[test]
fn replays_keep_the_order_of_live_rows_of_the_same_keys() {
    let stage = Stage::builder().whole_life().build();
    let relay = stage.relay();
    let load = Load::default();
    let total = thread::scope(|scope| {
        let until_ended = load.until_dropped();
        let writer = scope.spawn(|| sell(&stage, &load));
        wait_until("there are rows to replay", || stage.count("COMPLETE") > 300);
        let replays = [
            &["replay", "--all", "--limit", "300", "--wait"][..],
            &["replay", "--status", "COMPLETE", "--limit", "200", "--wait"],
        ];
        let running: Vec<_> = replays.map(|arguments| scope.spawn(|| stage.stdout_of(arguments))).into();
        for replay in running {
            let output = replay.join().expect("it ends");
            assert!(output.contains("300 sent") || output.contains("200 sent"), "{output}");
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
fn killed_replay_is_resumed_without_skipping_a_row() {
    let stage = Stage::builder().whole_life().build();
    let relay = stage.relay();
    complete(&stage, 400);
    assert!(relay.stop().success());
    let rows: HashSet<_> = stage.rows().iter().map(|row| row.id).collect();
    for round in 1..=2 {
        let replay = stage.begin(&["replay", "--all", "--rate", "60"]);
        wait_until("it is running", || sent_by(&stage, None) > round * 60);
        replay.kill();
    }
    // The relay resumes it.
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
    assert!(records.len() < 800, "it was resumed: {} records", records.len());
    let requests: i64 =
        stage.client().query_one("select count(*) from postrider.replay", &[]).expect("counted").get(0);
    assert_eq!(requests, 1, "the same command resumes the same request");
}

#[test]
fn dry_run_counts_and_changes_nothing() {
    let stage = Stage::builder().whole_life().build();
    let relay = stage.relay();
    complete(&stage, 10);
    let rows = stage.rows().len();
    let output = stage.stdout_of(&["replay", "--all", "--dry-run"]);
    assert!(
        output.contains(&stage.topic("again")) && output.contains("COMPLETE") && output.contains("10"),
        "{output}"
    );
    assert!(relay.stop().success());
    assert_eq!((stage.records().len(), stage.rows().len()), (10, rows));
    let requests: i64 =
        stage.client().query_one("select count(*) from postrider.replay", &[]).expect("counted").get(0);
    assert_eq!(requests, 0);
}

#[test]
fn requests_are_queued_and_can_be_cancelled() {
    let stage = Stage::builder().whole_life().build();
    let relay = stage.relay();
    complete(&stage, 100);
    stage.stdout_of(&["replay", "--all", "--rate", "5"]);
    stage.stdout_of(&["replay", "--all", "--limit", "7"]);
    let ids = "select id::text from postrider.replay order by requested_at";
    let ids: Vec<String> =
        stage.client().query(ids, &[]).expect("read").iter().map(|row| row.get(0)).collect();
    wait_until("the first is running", || sent_by(&stage, Some(&ids[0])) > 0);
    assert_eq!(sent_by(&stage, Some(&ids[1])), 0, "the second waits for its turn");
    assert!(stage.stdout_of(&["status"]).contains(&ids[1]));
    stage.stdout_of(&["replay", "--cancel", &ids[0]]);
    wait_until("the second is done", || sent_by(&stage, Some(&ids[1])) == 7);
    assert!(sent_by(&stage, Some(&ids[0])) < 100);
    assert!(relay.stop().success());
}

#[test]
fn large_logical_messages_of_an_ordinary_role_leave_the_relays_memory_where_it_was() {
    const MESSAGE_BYTES: i32 = 300 * 1024 * 1024;
    const GROWTH_MAX_KIB: u64 = 64 * 1024;
    let stage = Stage::builder().whole_life().build();
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    complete(&stage, 5);
    let before_kib = relay.memory_peak_kib();
    let role = format!("ordinary_{}", stage.slot());
    stage
        .client()
        .batch_execute(&format!("create role {role} login password 'its-own'"))
        .expect("an ordinary role");
    let mut client = postgres::Client::connect(&stage.url_as(&role, "its-own"), postgres::NoTls)
        .expect("the role connects");
    for transactional in [true, false] {
        let sql = "select pg_logical_emit_message($1, 'postrider.replay', repeat('x', $2))";
        client.execute(sql, &[&transactional, &MESSAGE_BYTES]).expect("emitted");
    }
    // Rows committed after the messages are read after them.
    let id = stage.rows()[0].id.to_string();
    let output = stage.stdout_of(&["replay", "--id", &id, "--wait"]);
    assert!(output.contains("1 sent"), "{output}");
    let after_kib = relay.memory_peak_kib();
    assert!(after_kib < before_kib + GROWTH_MAX_KIB, "from {before_kib} KiB to {after_kib} KiB");
    assert!(relay.stop().success());
}

#[test]
fn request_inserted_by_sql_is_executed_after_its_commit_and_a_rolled_back_one_never() {
    let stage = Stage::builder().whole_life().build();
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    complete(&stage, 3);
    let insert = |id: &str, slot: &str| {
        format!("insert into postrider.replay (id, slot, created_before) values ('{id}', '{slot}', now())")
    };
    let [rolled_back, of_another_slot, committed] =
        [1, 2, 3].map(|n| format!("00000000-0000-0000-0000-{n:012}"));
    let mut client = stage.client();
    client
        .batch_execute(&format!(
            "begin; {}; rollback; {}; {}",
            insert(&rolled_back, stage.slot()),
            insert(&of_another_slot, "another_slot"),
            insert(&committed, stage.slot())
        ))
        .expect("inserted");
    wait_until("the committed request is executed", || sent_by(&stage, Some(&committed)) == 3);
    assert_eq!(sent_by(&stage, None), 3);
    let queued = "select id::text from postrider.replay where state = 'queued'";
    let queued: Vec<String> = client.query(queued, &[]).expect("read").iter().map(|row| row.get(0)).collect();
    assert_eq!(queued, [of_another_slot]);
    assert!(relay.stop().success());
}

#[test]
fn replay_that_matches_no_row_succeeds() {
    let stage = Stage::builder().whole_life().build();
    let output = stage.postrider(&["replay", "--aggregate-type", "absent"]);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && stdout.contains("no row"),
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
