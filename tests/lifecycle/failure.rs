//! Rows that cannot be published, under each failure policy.

use integration_tests::{NewRow, Record, Row, Stage, StageBuilder, incompressible, wait_until};
use uuid::Uuid;

fn policy(policy: &str) -> StageBuilder<'static> {
    Stage::builder().whole_life().setting("POSTRIDER_FAILURE_POLICY", policy)
}

/// A row whose headers are not a JSON object: rejected before it is sent.
fn poison(key: impl ToString, number: i64) -> NewRow {
    NewRow { headers: Some("[\"no object\"]".to_owned()), ..NewRow::of("key", key, number) }
}

/// A row that the broker rejects: larger than its topic allows.
fn too_large(aggregate_type: &str, key: impl ToString) -> NewRow {
    NewRow { payload: Some(format!("\"{}\"", incompressible(100_000))), ..NewRow::of(aggregate_type, key, 0) }
}

fn statuses(stage: &Stage<'_>, rows: &[NewRow]) -> Vec<String> {
    rows.iter().map(|row| stage.row(row.id).status).collect()
}

fn of_key<'r>(records: &'r [Record], key: &str) -> Vec<&'r str> {
    records.iter().filter(|record| record.key.as_deref() == Some(key.as_bytes())).map(Record::text).collect()
}

fn reason(row: Row) -> String {
    row.last_error.unwrap_or_default()
}

#[test]
fn policy_park_fails_every_kind_of_bad_row_and_publishes_the_rest() {
    let stage = policy("park").build();
    stage.create_topic("small", 1, &[("max.message.bytes", "20000")]);
    let relay = stage.relay();
    let mut client = stage.client();
    let large = too_large("small", "1");
    let headers = poison("1", 0);
    let mut transaction = client.transaction().expect("begins");
    for number in 0..10 {
        NewRow::of("small", "1", number).insert(&mut transaction).expect("inserted");
    }
    large.insert(&mut transaction).expect("inserted");
    headers.insert(&mut transaction).expect("inserted");
    for number in 10..20 {
        NewRow::of("small", "1", number).insert(&mut transaction).expect("inserted");
        NewRow::of("key", "1", number).insert(&mut transaction).expect("inserted");
    }
    let nameless = Uuid::now_v7();
    let sql = "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload, topic) \
               values ($1, 'key', '1', 'happened', '1', 'no topic at all')";
    transaction.execute(sql, &[&nameless]).expect("inserted");
    transaction.commit().expect("commits");

    wait_until("all others are complete", || stage.count("COMPLETE") == 30);
    wait_until("three have failed", || stage.count("FAILED") == 3);
    assert!(reason(stage.row(large.id)).contains("max.message.bytes"), "{}", reason(stage.row(large.id)));
    assert!(reason(stage.row(headers.id)).contains("JSON object"));
    assert!(reason(stage.row(nameless)).contains("no topic at all"));
    assert_eq!((stage.row(large.id).attempts, stage.row(headers.id).attempts), (1, 0), "sends are counted");
    let log = relay.log();
    for id in [large.id, headers.id, nameless] {
        let lines =
            log.lines().filter(|line| line.contains("ERROR") && line.contains(&id.to_string())).count();
        assert_eq!(lines, 1, "row {id} is logged once:\n{log}");
    }
    let committed = stage.log_end();
    wait_until("the slot is confirmed past them", || {
        stage.confirmed() > committed || {
            stage
                .client()
                .batch_execute("select pg_logical_emit_message(false, 'other', 'x')")
                .expect("emitted");
            false
        }
    });
    assert!(relay.stop().success());
    let mut sent = stage.records();
    sent.retain(|record| record.topic == stage.topic("small"));
    assert_eq!(
        of_key(&sent, "1"),
        (0..20).map(|n: i64| n.to_string()).collect::<Vec<_>>(),
        "in order, each once"
    );
}

#[test]
fn parked_row_is_sent_to_the_dead_letter_topic_with_the_reason() {
    let stage = policy("park").build();
    let topic = stage.topic("dead");
    stage.create_topic("small", 1, &[("max.message.bytes", "20000")]);
    let relay = stage.relay_with(&[("POSTRIDER_FAILURE_DEAD_LETTER_TOPIC", &topic)]);
    let rows = [poison("7", 5), too_large("small", "8")];
    for row in &rows {
        stage.insert(row);
    }
    wait_until("both have failed", || stage.count("FAILED") == 2);
    let dead = || stage.records().into_iter().filter(|record| record.topic == topic).collect::<Vec<_>>();
    assert_eq!(dead().len(), 2);
    for row in &rows {
        let letter = dead().into_iter().find(|record| record.id() == row.id).expect("its dead letter");
        assert_eq!(letter.value.as_deref(), row.payload.as_deref().map(str::as_bytes), "its own bytes");
        let text = |name: &str| String::from_utf8_lossy(letter.header(name).unwrap_or_default()).into_owned();
        assert!(!text("postrider-error").is_empty());
        assert_eq!(text("postrider-topic"), stage.topic(&row.aggregate_type));
    }
    // A dead letter does not count as a receipt.
    stage.insert(&NewRow::of("key", "7", 6));
    wait_until("the next is complete", || stage.count("COMPLETE") == 1);
    assert_eq!(stage.count("FAILED"), 2);
    assert!(relay.stop().success());
}

#[test]
fn held_rows_wait_in_order_through_restarts_until_the_failed_row_is_skipped() {
    let stage = policy("hold").build();
    let mut relay = stage.relay();
    let head = poison("held", 0);
    stage.insert(&head);
    let waiting: Vec<NewRow> = (1..=5).map(|number| NewRow::of("key", "held", number)).collect();
    for row in &waiting {
        stage.insert(row);
        stage.insert(&NewRow::of("key", "free", row.payload.clone().expect("a number")));
    }
    wait_until("the other key flows", || stage.count("COMPLETE") == 5);
    assert_eq!(stage.row(head.id).status, "FAILED");
    wait_until("the rows behind it are held", || {
        waiting.iter().all(|row| reason(stage.row(row.id)).contains(&head.id.to_string()))
    });
    assert_eq!(statuses(&stage, &waiting), ["INIT"; 5]);
    let end = stage.log_end();
    stage.client().batch_execute("select pg_logical_emit_message(false, 'other', 'x')").expect("emitted");
    wait_until("the slot is confirmed past them", || stage.confirmed() > end);
    relay.kill();

    relay = stage.relay();
    let later = NewRow::of("key", "held", 6);
    stage.insert(&later);
    stage.insert(&NewRow::of("key", "free", 6));
    wait_until("the other key flows after a restart", || stage.count("COMPLETE") == 6);
    let since = std::time::Instant::now();
    wait_until("deadlines have passed", || since.elapsed() > std::time::Duration::from_secs(6));
    assert_eq!(statuses(&stage, &waiting), ["INIT"; 5], "the reconciler leaves them alone:\n{}", relay.log());

    let stdout = stage.stdout_of(&["replay", "--skip", &head.id.to_string(), "--wait"]);
    wait_until("they are sent without it", || stage.count("COMPLETE") == 12);
    assert_eq!(stage.row(head.id).status, "FAILED", "{stdout}");
    stage.insert(&NewRow::of("key", "held", 7));
    wait_until("the key is free", || stage.count("COMPLETE") == 13);
    assert!(relay.stop().success());
    let records = stage.records();
    assert_eq!(of_key(&records, "held"), ["1", "2", "3", "4", "5", "6", "7"], "in order, each once");
    let held: i64 =
        stage.client().query_one("select count(*) from postrider.held", &[]).expect("counted").get(0);
    assert_eq!(held, 0);
}

#[test]
fn replayed_failed_row_is_sent_before_the_rows_held_behind_it() {
    let stage = policy("hold").build();
    stage.create_topic("small", 1, &[("max.message.bytes", "20000")]);
    let mut relay = stage.relay();
    let head = too_large("small", "k");
    stage.insert(&head);
    for number in 1..=20 {
        stage.insert(&NewRow::of("small", "k", number));
    }
    wait_until("the first row has failed", || stage.count("FAILED") == 1);
    relay.wait_for_log("later rows of its key are held");
    // Replayed while the cause remains, it stays FAILED and they stay held.
    let replay = stage.postrider(&["replay", "--id", &head.id.to_string(), "--wait"]);
    let stdout = String::from_utf8_lossy(&replay.stdout).into_owned();
    assert!(stdout.contains("1 failed"), "{stdout}{}", String::from_utf8_lossy(&replay.stderr));
    assert_eq!((stage.count("FAILED"), stage.records().len()), (1, 0));

    let topic = stage.topic("small");
    let brokers = stage.kafka().brokers();
    let arguments =
        ["--bootstrap-server", brokers, "--alter", "--entity-type", "topics", "--entity-name", &topic];
    let arguments = [&arguments[..], &["--delete-config", "max.message.bytes"]].concat();
    stage.kafka().tool("kafka.admin.ConfigCommand", &arguments).expect("the limit is lifted");
    stage.stdout_of(&["replay", "--status", "FAILED", "--wait"]);
    wait_until("all rows are complete", || stage.count("COMPLETE") == 21);
    assert!(relay.stop().success());
    let records = stage.records();
    assert_eq!(records[0].id(), head.id, "the failed row is sent first");
    assert!(records[0].header("postrider-replay").is_some(), "it was sent by a replay");
    let rest: Vec<&str> = records[1..].iter().map(Record::text).collect();
    assert_eq!(rest, (1..=20).map(|n: i64| n.to_string()).collect::<Vec<_>>(), "in order, each once");
}

#[test]
fn policy_stop_ends_the_relay_and_a_restart_stops_at_the_same_row() {
    let stage = policy("stop").build();
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    let row = poison("1", 0);
    stage.insert(&row);
    stage.insert(&NewRow::of("key", "1", 1));
    relay.wait_until_failed();
    assert!(relay.log().contains(&row.id.to_string()), "{}", relay.log());
    let mut again = stage.relay();
    again.wait_until_failed();
    assert!(again.log().contains(&row.id.to_string()), "{}", again.log());
    assert_eq!(stage.count("INIT"), 2);
}

/// A topic that rejects everything costs the rows of other topics no outage.
#[test]
fn topic_that_rejects_every_record_fails_its_own_rows_only() {
    let kafka = testbed::Kafka::builder()
        .property("auto.create.topics.enable", "false")
        .start()
        .expect("a Kafka that makes no topics");
    let stage = policy("park").kafka(&kafka).build();
    stage.create_topic("there", 3, &[]);
    let relay = stage.relay_with(&[("POSTRIDER_KAFKA_PROPERTIES_TOPIC_METADATA_PROPAGATION_MAX_MS", "2000")]);
    for number in 0..60 {
        stage.insert(&NewRow::of(if number % 3 == 0 { "absent" } else { "there" }, number % 5, number));
    }
    wait_until("the rows of the existing topic are complete", || stage.count("COMPLETE") == 40);
    wait_until("the others have failed", || stage.count("FAILED") == 20);
    assert!(relay.stop().success());
    assert_eq!(stage.records().len(), 40, "each once");
}

fn insert_and_delete(stage: &Stage<'_>, row: &NewRow) {
    let mut client = stage.client();
    let mut transaction = client.transaction().expect("begins");
    row.insert(&mut transaction).expect("inserted");
    transaction.execute("delete from outbox where id = $1", &[&row.id]).expect("deleted");
    transaction.commit().expect("commits");
}

fn held(stage: &Stage<'_>) -> i64 {
    stage.client().query_one("select count(*) from postrider.held", &[]).expect("counted").get(0)
}

#[test]
fn policy_hold_publishes_events_whose_rows_are_deleted_at_once() {
    let stage = policy("hold").build();
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    let bad = poison("1", 0);
    insert_and_delete(&stage, &bad);
    for number in 1..=2 {
        insert_and_delete(&stage, &NewRow::of("key", "1", number));
    }
    wait_until("all three are held", || held(&stage) == 3);
    assert!(relay.stop().success());
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    insert_and_delete(&stage, &NewRow::of("key", "1", 3));
    wait_until("the fourth is held, too", || held(&stage) == 4);
    stage.stdout_of(&["replay", "--wait", "--skip", &bad.id.to_string()]);
    wait_until("the others are published", || held(&stage) == 0);
    assert!(relay.stop().success());
    assert_eq!(of_key(&stage.records(), "1"), ["1", "2", "3"]);
}

#[test]
fn waiting_event_whose_row_is_deleted_holds_its_key_when_it_fails() {
    let stage = policy("hold").build();
    let relay = stage.relay();
    let (first, second) = (poison("1", 0), poison("1", 1));
    for row in [&first, &second, &NewRow::of("key", "1", 2)] {
        insert_and_delete(&stage, row);
    }
    wait_until("all three are held", || held(&stage) == 3);
    let passed = stage.postrider(&["replay", "--wait", "--id", &second.id.to_string()]);
    assert_eq!(held(&stage), 3, "{}", String::from_utf8_lossy(&passed.stderr));
    for (row, left) in [(&first, 2), (&second, 0)] {
        stage.stdout_of(&["replay", "--wait", "--skip", &row.id.to_string()]);
        wait_until("its key is released", || held(&stage) == left);
    }
    assert!(relay.stop().success());
    assert_eq!(of_key(&stage.records(), "1"), ["2"]);
}

#[test]
fn failed_event_whose_row_is_deleted_is_listed_and_skipped_by_its_id() {
    let stage = policy("park").build();
    let relay = stage.relay();
    let bad = poison("1", 0);
    insert_and_delete(&stage, &bad);
    insert_and_delete(&stage, &NewRow::of("key", "1", 1));
    wait_until("the failed event is kept", || held(&stage) == 1);
    let id = bad.id.to_string();
    let status = stage.stdout_of(&["status"]);
    assert!(status.contains(&id) && status.contains("JSON object"), "{status}");
    let retried = stage.postrider(&["replay", "--wait", "--id", &id]);
    assert!(!retried.status.success(), "its headers are as they were");
    assert_eq!(held(&stage), 1);
    stage.stdout_of(&["replay", "--wait", "--skip", &id]);
    assert_eq!(held(&stage), 0);
    assert!(relay.stop().success());
    assert_eq!(of_key(&stage.records(), "1"), ["1"]);
}

#[test]
fn policy_hold_holds_a_key_of_any_length() {
    let stage = policy("hold").build();
    let relay = stage.relay();
    let key = incompressible(6_400);
    let sql = "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload, headers, partition_key) \
               values ($1, 'key', '1', 'happened', '1', $2::text::jsonb, $3)";
    let mut client = stage.client();
    for headers in ["[]", "{}"] {
        client.execute(sql, &[&Uuid::now_v7(), &headers, &key]).expect("inserted");
    }
    for number in 0..50 {
        stage.insert(&NewRow::of("key", "2", number));
    }
    wait_until("the others are complete", || stage.count("COMPLETE") == 50);
    assert_eq!((stage.count("FAILED"), stage.count("INIT"), held(&stage)), (1, 1, 2));
    assert!(relay.stop().success());
}
