//! The startup scan.

use std::time::{Duration, Instant};

use outbox::{CreatedRange, Lsn, WriteBackSummary};
use uuid::Uuid;

use crate::fixture::{ALL, Command, Fixture};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn startup_scan_resends_overdue_rows_in_order_and_leaves_recent_ones() {
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
    fixture.wait_for(&[Command::Sent(2), Command::Sent(3), Command::Sent(5), Command::Sent(11)]).await;
}

#[tokio::test]
async fn startup_scan_waits_until_the_backlog_of_the_slot_is_settled() {
    let mut fixture = Fixture::new(MINUTE, 5 * MINUTE).await;
    fixture.insert(1, "created_at = now() - interval '1 day'").await;
    fixture.start(Lsn::ZERO).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((fixture.queries().await, fixture.commands()), (0, vec![]));
    fixture.settle(ALL);
    fixture.wait_for(&[Command::Sent(1)]).await;
}

#[tokio::test]
async fn startup_scan_schedules_recent_rows_for_their_deadlines() {
    let mut fixture = Fixture::new(Duration::from_secs(3), Duration::from_secs(6)).await;
    let start = Instant::now();
    fixture.insert(1, "created_at = now()").await;
    fixture.published(2, 0, 17, 0, 1).await;
    fixture.start(ALL).await;
    fixture.wait_for(&[Command::Sent(1), Command::Sent(2)]).await;
    assert!(start.elapsed() >= Duration::from_secs(6), "{:?}", start.elapsed());
    // The scan, then one check for each: INIT pages and the rows that are INIT still, PUBLISH summary and pages.
    assert!(fixture.queries().await <= 8, "{}", fixture.queries().await);
}

#[tokio::test]
async fn startup_scan_ignores_held_rows() {
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
    fixture.wait_for(&[Command::Sent(2)]).await;
    fixture.wait_until("the startup scan is over", async |fixture| fixture.summaries().await >= 1).await;
    assert_eq!(fixture.commands(), [Command::Sent(2)]);
}

#[tokio::test]
async fn startup_scan_works_without_created_at() {
    let mut fixture = Fixture::new(MINUTE, 5 * MINUTE).await;
    fixture.insert(1, "status = 'INIT'").await;
    fixture.published(2, 0, 17, 400, 1).await;
    fixture.published(3, 0, 18, 1, 1).await;
    fixture.execute("alter table outbox drop column created_at").await;
    fixture.start(ALL).await;
    fixture.wait_for(&[Command::Sent(1), Command::Sent(2)]).await;
}

#[tokio::test]
async fn startup_scan_reads_many_rows_in_pages() {
    let mut fixture = Fixture::new(MINUTE, 5 * MINUTE).await;
    fixture
        .execute(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload, created_at)
             select lpad(to_hex(n), 32, '0')::uuid, 'order', '7', 'placed', '{}', now() - interval '1 day' + n * interval '1 ms'
             from generate_series(1, 1234) n",
        )
        .await;
    fixture.start(ALL).await;
    fixture.wait_for(&(1..=1234).map(Command::Sent).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn reconciler_runs_no_query_while_rows_settle_in_time() {
    let mut fixture = Fixture::new(Duration::from_millis(400), Duration::from_millis(800)).await;
    let width = fixture.deadlines.publish_width_us() as i64;
    fixture.started().await;
    // The first PUBLISH buckets may contain rows of other processes.
    let at_us = fixture.database_now_us().await;
    fixture.deadlines.written(&WriteBackSummary {
        at_us,
        published: 0,
        created: None,
        completed: Vec::new(),
    });
    tokio::time::sleep(Duration::from_micros(2 * width as u64)).await;
    let before = fixture.queries().await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        let at_us = fixture.database_now_us().await;
        let buckets: Vec<_> = (0..100).map(|_| fixture.deadlines.seen(Some(at_us))).collect();
        tokio::time::sleep(Duration::from_millis(5)).await;
        buckets.into_iter().for_each(|bucket| fixture.deadlines.settled(bucket));
        let created = Some(CreatedRange::of(Some(at_us)));
        fixture.deadlines.written(&WriteBackSummary {
            at_us,
            published: 100,
            created,
            completed: Vec::new(),
        });
        let completed = vec![(at_us.div_euclid(width), 100)];
        fixture.deadlines.written(&WriteBackSummary {
            at_us: at_us + 1,
            published: 0,
            created: None,
            completed,
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fixture.queries().await - before, 0);
    fixture.close_session().await;
}

#[tokio::test]
async fn reconciler_retries_while_queries_are_terminated() {
    let mut fixture = Fixture::new(Duration::from_millis(200), 5 * MINUTE).await;
    fixture.started().await;
    fixture.insert(1, "created_at = now()").await;
    let created = fixture.number("select (extract(epoch from created_at) * 1000000)::int8 from outbox").await;
    // The table is locked, and queries that wait for it are terminated.
    fixture.execute("begin; lock table outbox in access exclusive mode").await;
    fixture.deadlines.seen(Some(created));
    for _ in 0..2 {
        fixture
            .wait_until("it queries", async |fixture| {
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
    fixture.wait_for(&[Command::Sent(1)]).await;
}

#[tokio::test]
async fn startup_scan_runs_once_per_process_and_again_after_a_reset() {
    let mut fixture = Fixture::new(MINUTE, 5 * MINUTE).await;
    fixture.started().await;
    fixture.close_session().await;
    let before = fixture.queries().await;
    fixture.insert(1, "created_at = now() - interval '2 minutes'").await;
    fixture.start(ALL).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((fixture.queries().await, fixture.commands()), (before, vec![]));
    fixture.close_session().await;

    // Another log: rows may have been committed that this process never counted.
    fixture.startup.reset();
    fixture.start(ALL).await;
    fixture.wait_for(&[Command::Sent(1)]).await;
}

#[tokio::test]
async fn overdue_rows_whose_check_the_end_of_a_session_interrupts_are_checked_in_the_next_one() {
    let mut fixture = Fixture::new(Duration::from_millis(300), 5 * MINUTE).await;
    fixture.started().await;
    fixture.settle(Lsn::from_u64(2));
    let before = fixture.queries().await;
    fixture.insert(1, "created_at = now()").await;
    fixture.deadlines.seen(Some(fixture.database_now_us().await - 1_000_000));
    fixture.deadlines.seen(Some(fixture.database_now_us().await));
    fixture.wait_until("it queries", async |fixture| fixture.queries().await > before).await;
    fixture.close_session().await;
    assert_eq!(fixture.commands(), []);

    fixture.start(ALL).await;
    fixture.wait_for(&[Command::Sent(1)]).await;
}
