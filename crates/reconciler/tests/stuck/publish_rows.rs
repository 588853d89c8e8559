//! Stuck PUBLISH rows.

use std::time::Duration;

use outbox::{CreatedRange, RecordAtOffset, WriteBackSummary};
use uuid::Uuid;

use crate::fixture::{ALL, Command, Fixture};
use crate::kafka::Log;

const MINUTE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(400);

fn row(id: u128) -> RecordAtOffset {
    RecordAtOffset::Row(Uuid::from_u128(id))
}

#[tokio::test]
async fn reconciler_judges_rows_by_the_evidence() {
    let mut fixture = Fixture::new(MINUTE, 5 * MINUTE).await;
    // Partition 0: log start offset 5, log end offset 10, committed offset 7, foreign records from 8 on.
    for n in 0..8 {
        fixture.kafka.append(0, row(n));
    }
    fixture.kafka.append(0, row(555));
    fixture.kafka.append(0, RecordAtOffset::Foreign);
    {
        let mut state = fixture.kafka.state();
        let log = state.logs.get_mut(&0).expect("it exists");
        (log.start, log.committed) = (5, 7);
    }
    for n in 4..=10 {
        fixture.published(n, 0, n as i64, 400, 1).await;
    }
    // Partition 1: every record was deleted before it was consumed.
    for _ in 0..20 {
        fixture.kafka.append(1, RecordAtOffset::Foreign);
    }
    fixture.kafka.state().logs.get_mut(&1).expect("it exists").start = 20;
    fixture.published(20, 1, 17, 400, 1).await;
    // A partition that does not exist, and a row without a position, which proves nothing.
    fixture.published(21, 7, 0, 400, 1).await;
    fixture.insert(22, "status = 'PUBLISH', created_at = now() - interval '1 hour'").await;
    fixture.start(ALL).await;
    let sent = [8, 9, 10, 20, 21].map(Command::Sent);
    let completed = [4, 5, 6].map(Command::Completed);
    fixture.wait_for(&[completed.as_slice(), sent.as_slice()].concat()).await;
    let lagging =
        fixture.number("select count(*) from outbox where status = 'PUBLISH' and kafka_offset = 7").await;
    assert_eq!(lagging, 1);
}

// The log contains a newer record of its key, and it would come after that.
#[tokio::test]
async fn reconciler_does_not_resend_a_row_whose_record_was_compacted() {
    let mut fixture = Fixture::new(MINUTE, SOON).await;
    for n in 0..10 {
        fixture.kafka.append(0, if n % 2 == 0 { RecordAtOffset::Absent } else { row(n) });
        fixture.published(n, 0, n as i64, 400, 1).await;
    }
    fixture.kafka.state().logs.get_mut(&0).expect("it exists").committed = 4;
    fixture.start(ALL).await;
    fixture.wait_for(&[0, 1, 2, 3].map(Command::Completed)).await;
    let probes = fixture.kafka.state().probes;
    fixture.wait_until("it probes again", async |fixture| fixture.kafka.state().probes > probes).await;
    fixture.kafka.state().logs.get_mut(&0).expect("it exists").committed = 10;
    fixture.wait_for(&(0..10).map(Command::Completed).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn reconciler_resends_a_row_whose_log_is_truncated_while_it_is_probed() {
    let mut fixture = Fixture::new(MINUTE, 5 * MINUTE).await;
    for n in 0..10 {
        fixture.kafka.append(0, row(n));
    }
    fixture.published(3, 0, 3, 400, 1).await;
    fixture.kafka.state().replace_when_probed =
        Some(Log { start: 7, records: vec![row(9); 10], committed: 0 });
    fixture.start(ALL).await;
    fixture.wait_for(&[Command::Sent(3)]).await;
}

#[tokio::test]
async fn consumer_that_is_down_costs_no_resend_and_few_queries() {
    let mut fixture = Fixture::new(MINUTE, SOON).await;
    fixture.started().await;
    for n in 1..=3000 {
        fixture.kafka.append((n % 3) as i32, row(n));
    }
    fixture
        .execute(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload, status, created_at, last_attempt_at,
                 attempts, kafka_topic, kafka_partition, kafka_offset)
             select lpad(to_hex(n), 32, '0')::uuid, 'order', '7', 'placed', '{}', 'PUBLISH', now(), now(), 1, 't', n % 3,
                 (n - case when n % 3 = 0 then 3 else 1 end) / 3
             from generate_series(1, 3000) n",
        )
        .await;
    let at_us =
        fixture.number("select (extract(epoch from max(last_attempt_at)) * 1000000)::int8 from outbox").await;
    let (before, created) = (fixture.queries().await, Some(CreatedRange::of(Some(at_us))));
    fixture.deadlines.written(&WriteBackSummary { at_us, published: 3000, created, completed: Vec::new() });
    let start = std::time::Instant::now();
    // After 1, 2, 4 and 8 deadlines.
    fixture.wait_until("it queries", async |fixture| fixture.queries().await >= before + 4).await;
    assert!(start.elapsed() >= SOON * 6, "{:?}", start.elapsed());
    assert_eq!(fixture.queries().await, before + 4);
    assert_eq!(fixture.commands(), []);
    let probes = fixture.kafka.state().probes;
    assert!(probes <= 2 * 3 * 4, "{probes} records were read");

    // The consumer has caught up, but its receipts were missed.
    for log in fixture.kafka.state().logs.values_mut() {
        log.committed = 1000;
    }
    fixture.wait_until("all are complete", async |fixture| fixture.commands().len() >= 3000).await;
    assert!(fixture.commands().iter().all(|command| matches!(command, Command::Completed(_))));
}

#[tokio::test]
async fn reconciler_resends_a_row_after_growing_pauses_and_gives_it_up_in_the_end() {
    let mut fixture = Fixture::new(SOON, SOON).await;
    fixture.options.attempts_max = Some(5);
    for _ in 0..120 {
        fixture.kafka.append(3, RecordAtOffset::Foreign);
    }
    fixture.kafka.state().logs.get_mut(&3).expect("it exists").start = 120;
    fixture.published(1, 3, 17, 3600, 5).await;
    fixture.published(2, 3, 18, 3600, 4).await;
    // Sent a moment ago, for the fourth time: its backoff is not over.
    fixture.options.publish_after = Some(SOON);
    fixture.execute("select 1").await;
    fixture.published(3, 3, 19, 1, 4).await;
    fixture.start(ALL).await;
    let reason = "given up after 5 attempts: its record is lost (the log of partition 3 of topic t starts at 120, its record was at 17)";
    fixture
        .wait_until("the second is sent", async |fixture| fixture.commands().contains(&Command::Sent(2)))
        .await;
    let commands = fixture.commands();
    assert!(commands.contains(&Command::GaveUp(1, reason.to_owned())), "{commands:?}");
    assert!(!commands.contains(&Command::Sent(3)), "{commands:?}");
    // It is sent when the backoff is over: 4 attempts, 8 deadlines.
    fixture
        .wait_until("the third is sent", async |fixture| fixture.commands().contains(&Command::Sent(3)))
        .await;
    let pause = fixture
        .number("select (extract(epoch from last_attempt_at - created_at) * 1000)::int8 from outbox where id = '00000000-0000-0000-0000-000000000003'")
        .await;
    assert!(pause >= 2400, "{pause} ms");
}

#[tokio::test]
async fn broker_that_is_down_decides_nothing() {
    let mut fixture = Fixture::new(MINUTE, 5 * MINUTE).await;
    fixture.kafka.state().is_down = true;
    fixture.published(1, 0, 5, 3600, 1).await;
    fixture.start(ALL).await;
    fixture.wait_until("it requests evidence", async |fixture| fixture.kafka.state().requests >= 3).await;
    assert_eq!(fixture.commands(), []);
    fixture.kafka.state().is_down = false;
    fixture.wait_for(&[Command::Sent(1)]).await;
}

#[tokio::test]
async fn reconciler_checks_rows_that_were_inserted_as_published() {
    let mut fixture = Fixture::new(SOON, 2 * SOON).await;
    fixture.started().await;
    // Its topic does not have this partition.
    let position = "kafka_topic = 't', kafka_partition = 7, kafka_offset = 0";
    fixture.insert(1, &format!("status = 'PUBLISH', created_at = now(), {position}")).await;
    let created = fixture.number("select (extract(epoch from created_at) * 1000000)::int8 from outbox").await;
    let start = std::time::Instant::now();
    fixture.deadlines.inserted_published(Some(created));
    fixture.wait_for(&[Command::Sent(1)]).await;
    assert!(start.elapsed() >= 2 * SOON, "{:?}", start.elapsed());
}
