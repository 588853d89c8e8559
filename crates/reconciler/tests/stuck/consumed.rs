//! Rows that say PUBLISH.

use std::time::Duration;

use outbox::{CreatedRange, WriteBackSummary};
use reconciler::RecordAt;
use uuid::Uuid;

use crate::fixture::{ALL, Did, Fixture};
use crate::kafka::Log;

const MINUTE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(400);

fn row(id: u128) -> RecordAt {
    RecordAt::Row(Uuid::from_u128(id))
}

#[tokio::test]
async fn evidence_decides() {
    let mut fixture = Fixture::new(MINUTE, 5 * MINUTE).await;
    // Partition 0: 0 to 4 are deleted, 5 to 9 there, the consumer has come to 7; others' records from 8 on.
    for n in 0..8 {
        fixture.kafka.append(0, row(n));
    }
    fixture.kafka.append(0, row(555));
    fixture.kafka.append(0, RecordAt::Foreign);
    {
        let mut state = fixture.kafka.state();
        let log = state.logs.get_mut(&0).expect("it is there");
        (log.start, log.committed) = (5, 7);
    }
    for n in 4..=10 {
        fixture.published(n, 0, n as i64, 400, 1).await;
    }
    // Partition 1: deleted before it was consumed, all of it.
    for _ in 0..20 {
        fixture.kafka.append(1, RecordAt::Foreign);
    }
    fixture.kafka.state().logs.get_mut(&1).expect("it is there").start = 20;
    fixture.published(20, 1, 17, 400, 1).await;
    // No such partition; no place.
    fixture.published(21, 7, 0, 400, 1).await;
    fixture.insert(22, "status = 'PUBLISH', created_at = now() - interval '1 hour'").await;
    fixture.start(ALL).await;
    let sent = [22, 8, 9, 10, 20, 21].map(Did::Sent);
    let completed = [4, 5, 6].map(Did::Completed);
    fixture.wait_for(&[completed.as_slice(), sent.as_slice()].concat()).await;
    let lagging =
        fixture.number("select count(*) from outbox where status = 'PUBLISH' and kafka_offset = 7").await;
    assert_eq!(lagging, 1);
}

// A newer record of its key is there, which it would come after.
#[tokio::test]
async fn what_compaction_took_is_not_sent_again() {
    let mut fixture = Fixture::new(MINUTE, SOON).await;
    for n in 0..10 {
        fixture.kafka.append(0, if n % 2 == 0 { RecordAt::Absent } else { row(n) });
        fixture.published(n, 0, n as i64, 400, 1).await;
    }
    fixture.kafka.state().logs.get_mut(&0).expect("it is there").committed = 4;
    fixture.start(ALL).await;
    fixture.wait_for(&[0, 1, 2, 3].map(Did::Completed)).await;
    let looks = fixture.kafka.state().looks;
    fixture.wait_until("it looks again", async |fixture| fixture.kafka.state().looks > looks).await;
    fixture.kafka.state().logs.get_mut(&0).expect("it is there").committed = 10;
    fixture.wait_for(&(0..10).map(Did::Completed).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn a_log_that_is_cut_while_it_is_looked_into_is_not_compacted() {
    let mut fixture = Fixture::new(MINUTE, 5 * MINUTE).await;
    for n in 0..10 {
        fixture.kafka.append(0, row(n));
    }
    fixture.published(3, 0, 3, 400, 1).await;
    fixture.kafka.state().cut_when_looked_at =
        Some(Log { start: 7, records: vec![row(9); 10], committed: 0 });
    fixture.start(ALL).await;
    fixture.wait_for(&[Did::Sent(3)]).await;
}

#[tokio::test]
async fn a_consumer_that_is_down_costs_no_sending_and_few_questions() {
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
    fixture.account.written(&WriteBackSummary { at_us, published: 3000, created, completed: Vec::new() });
    let start = std::time::Instant::now();
    // After 1, 2, 4 and 8 deadlines.
    fixture.wait_until("it looks", async |fixture| fixture.queries().await >= before + 4).await;
    assert!(start.elapsed() >= SOON * 6, "{:?}", start.elapsed());
    assert_eq!(fixture.queries().await, before + 4);
    assert_eq!(fixture.did(), []);
    let looks = fixture.kafka.state().looks;
    assert!(looks <= 2 * 3 * 4, "{looks} records were read");

    // The consumer comes back, and its receipts are missed.
    for log in fixture.kafka.state().logs.values_mut() {
        log.committed = 1000;
    }
    fixture.wait_until("all are complete", async |fixture| fixture.did().len() >= 3000).await;
    assert!(fixture.did().iter().all(|did| matches!(did, Did::Completed(_))));
}

#[tokio::test]
async fn a_row_is_sent_again_with_growing_pauses_and_given_up_in_the_end() {
    let mut fixture = Fixture::new(SOON, SOON).await;
    fixture.options.attempts_max = Some(5);
    for _ in 0..120 {
        fixture.kafka.append(3, RecordAt::Foreign);
    }
    fixture.kafka.state().logs.get_mut(&3).expect("it is there").start = 120;
    fixture.published(1, 3, 17, 3600, 5).await;
    fixture.published(2, 3, 18, 3600, 4).await;
    // Sent five minutes ago and often: its pause is not over.
    fixture.options.publish_after = Some(SOON);
    fixture.execute("select 1").await;
    fixture.published(3, 3, 19, 1, 4).await;
    fixture.start(ALL).await;
    let reason = "given up after 5 attempts: its record is gone (the log of partition 3 of topic t starts at 120, its record was at 17)";
    fixture.wait_until("the second is sent", async |fixture| fixture.did().contains(&Did::Sent(2))).await;
    let did = fixture.did();
    assert!(did.contains(&Did::GaveUp(1, reason.to_owned())), "{did:?}");
    assert!(!did.contains(&Did::Sent(3)), "{did:?}");
    // It is, though, when its pause is: 4 attempts, 8 deadlines.
    fixture.wait_until("the third is sent", async |fixture| fixture.did().contains(&Did::Sent(3))).await;
    let pause = fixture
        .number("select (extract(epoch from last_attempt_at - created_at) * 1000)::int8 from outbox where id = '00000000-0000-0000-0000-000000000003'")
        .await;
    assert!(pause >= 2400, "{pause} ms");
}

#[tokio::test]
async fn a_broker_that_is_away_decides_nothing() {
    let mut fixture = Fixture::new(MINUTE, 5 * MINUTE).await;
    fixture.kafka.state().away = true;
    fixture.published(1, 0, 5, 3600, 1).await;
    fixture.start(ALL).await;
    fixture.wait_until("it asks", async |fixture| fixture.kafka.state().asked >= 3).await;
    assert_eq!(fixture.did(), []);
    fixture.kafka.state().away = false;
    fixture.wait_for(&[Did::Sent(1)]).await;
}

#[tokio::test]
async fn rows_inserted_as_published_are_looked_into_too() {
    let mut fixture = Fixture::new(SOON, 2 * SOON).await;
    fixture.started().await;
    fixture.insert(1, "status = 'PUBLISH', created_at = now()").await;
    let created = fixture.number("select (extract(epoch from created_at) * 1000000)::int8 from outbox").await;
    let start = std::time::Instant::now();
    fixture.account.inserted_published(Some(created));
    fixture.wait_for(&[Did::Sent(1)]).await;
    assert!(start.elapsed() >= 2 * SOON, "{:?}", start.elapsed());
}
