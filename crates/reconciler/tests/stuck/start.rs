//! What earlier lives have left.

use std::time::{Duration, Instant};

use outbox::{CreatedRange, Lsn, WriteBackSummary};
use uuid::Uuid;

use crate::fixture::{ALL, Did, Fixture};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn backdated_rows_are_planned_in_their_order_and_fresh_ones_left() {
    let mut fixture = Fixture::new(MINUTE, 5 * MINUTE).await;
    fixture.insert(3, "created_at = now() - interval '2 minutes'").await;
    fixture.insert(2, "created_at = now() - interval '3 minutes'").await;
    fixture.insert(4, "created_at = now() - interval '30 s'").await;
    fixture.execute("alter table outbox alter created_at drop not null").await;
    fixture.insert(5, "created_at = null").await;
    fixture.insert(6, "created_at = now() - interval '1 hour', status = 'FAILED'").await;
    fixture.published(11, 0, 17, 400, 1).await;
    fixture.published(12, 0, 18, 30, 1).await;
    fixture.start(ALL).await;
    fixture.wait_for(&[Did::Sent(2), Did::Sent(3), Did::Sent(5), Did::Sent(11)]).await;
}

#[tokio::test]
async fn nothing_is_looked_for_before_the_backlog_of_the_slot_is_settled() {
    let mut fixture = Fixture::new(MINUTE, 5 * MINUTE).await;
    fixture.insert(1, "created_at = now() - interval '1 day'").await;
    fixture.start(Lsn::ZERO).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((fixture.queries().await, fixture.did()), (0, vec![]));
    fixture.settle(ALL);
    fixture.wait_for(&[Did::Sent(1)]).await;
}

#[tokio::test]
async fn fresh_rows_that_were_left_are_looked_at_when_their_time_is_over() {
    let mut fixture = Fixture::new(Duration::from_secs(3), Duration::from_secs(6)).await;
    let start = Instant::now();
    fixture.insert(1, "created_at = now()").await;
    fixture.published(2, 0, 17, 0, 1).await;
    fixture.start(ALL).await;
    fixture.wait_for(&[Did::Sent(1), Did::Sent(2)]).await;
    assert!(start.elapsed() >= Duration::from_secs(6), "{:?}", start.elapsed());
    // The start, then one question for each: INIT pages and what still says INIT, PUBLISH in sum and by pages.
    assert!(fixture.queries().await <= 8, "{}", fixture.queries().await);
}

#[tokio::test]
async fn held_rows_wait_for_their_head() {
    let mut fixture = Fixture::new(MINUTE, 5 * MINUTE).await;
    for id in 1..=2 {
        fixture.insert(id, "created_at = now() - interval '2 minutes'").await;
    }
    fixture
        .execute(&format!(
            "insert into postrider.held (slot, id, topic, key, head) values ('{}', '{}', 't', 'k', false)",
            fixture.names.slot,
            Uuid::from_u128(1)
        ))
        .await;
    fixture.start(ALL).await;
    fixture.wait_for(&[Did::Sent(2)]).await;
    fixture.wait_until("the start is over", async |fixture| fixture.overviews().await >= 1).await;
    assert_eq!(fixture.did(), [Did::Sent(2)]);
}

#[tokio::test]
async fn a_table_without_created_at_is_looked_through() {
    let mut fixture = Fixture::new(MINUTE, 5 * MINUTE).await;
    fixture.insert(1, "status = 'INIT'").await;
    fixture.published(2, 0, 17, 400, 1).await;
    fixture.published(3, 0, 18, 1, 1).await;
    fixture.execute("alter table outbox drop column created_at").await;
    fixture.start(ALL).await;
    fixture.wait_for(&[Did::Sent(1), Did::Sent(2)]).await;
}

#[tokio::test]
async fn many_rows_are_planned_page_by_page() {
    let mut fixture = Fixture::new(MINUTE, 5 * MINUTE).await;
    fixture
        .execute(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload, created_at)
             select lpad(to_hex(n), 32, '0')::uuid, 'order', '7', 'placed', '{}', now() - interval '1 day' + n * interval '1 ms'
             from generate_series(1, 1234) n",
        )
        .await;
    fixture.start(ALL).await;
    fixture.wait_for(&(1..=1234).map(Did::Sent).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn an_idle_relay_asks_nothing_and_a_loaded_one_nothing_either() {
    let mut fixture = Fixture::new(Duration::from_millis(400), Duration::from_millis(800)).await;
    let width = fixture.account.publish_width_us() as i64;
    fixture.started().await;
    // The first buckets of a life are shared with what another may have sent.
    let at_us = fixture.database_now_us().await;
    fixture.account.written(&WriteBackSummary { at_us, published: 0, created: None, completed: Vec::new() });
    tokio::time::sleep(Duration::from_micros(2 * width as u64)).await;
    let before = fixture.queries().await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        let at_us = fixture.database_now_us().await;
        let buckets: Vec<_> = (0..100).map(|_| fixture.account.seen(Some(at_us))).collect();
        tokio::time::sleep(Duration::from_millis(5)).await;
        buckets.into_iter().for_each(|bucket| fixture.account.settled(bucket));
        let created = Some(CreatedRange::of(Some(at_us)));
        fixture.account.written(&WriteBackSummary { at_us, published: 100, created, completed: Vec::new() });
        let completed = vec![(at_us.div_euclid(width), 100)];
        fixture.account.written(&WriteBackSummary {
            at_us: at_us + 1,
            published: 0,
            created: None,
            completed,
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fixture.queries().await - before, 0);
    fixture.end_life().await;
}

#[tokio::test]
async fn a_database_that_is_in_the_way_is_waited_for() {
    let mut fixture = Fixture::new(Duration::from_millis(200), 5 * MINUTE).await;
    fixture.started().await;
    fixture.insert(1, "created_at = now()").await;
    let created = fixture.number("select (extract(epoch from created_at) * 1000000)::int8 from outbox").await;
    // Nobody can read the table, and whoever waits for it is thrown out.
    fixture.execute("begin; lock table outbox in access exclusive mode").await;
    fixture.account.seen(Some(created));
    for _ in 0..2 {
        fixture
            .wait_until("it asks", async |fixture| {
                fixture.execute("select pg_stat_clear_snapshot()").await;
                fixture
                    .number(
                        "select count(pg_terminate_backend(pid))
                         from pg_stat_activity
                         where datname = current_database() and wait_event_type = 'Lock'",
                    )
                    .await
                    > 0
            })
            .await;
    }
    fixture.execute("rollback").await;
    fixture.wait_for(&[Did::Sent(1)]).await;
}
