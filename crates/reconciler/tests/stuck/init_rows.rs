//! Stuck INIT rows.

use std::time::Duration;

use outbox::Lsn;

use crate::fixture::{ALL, Command, Fixture};

const MINUTE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(300);

#[tokio::test]
async fn reconciler_resends_a_row_that_was_seen_and_never_settles() {
    let mut fixture = Fixture::new(SOON, 5 * MINUTE).await;
    fixture.started().await;
    let created = "2020-01-01 12:00:00Z";
    fixture.insert(1, &format!("created_at = '{created}'")).await;
    fixture.insert(2, "created_at = now()").await;
    let created_us =
        fixture.number(&format!("select extract(epoch from '{created}'::timestamptz)::int8 * 1000000")).await;
    fixture.deadlines.seen(Some(created_us));
    // The other one is not overdue, and not in the created_at range.
    fixture.wait_for(&[Command::Sent(1)]).await;
}

#[tokio::test]
async fn reconciler_waits_until_the_wal_is_read_past_an_init_row() {
    let mut fixture = Fixture::new(SOON, 5 * MINUTE).await;
    fixture.started().await;
    fixture.settle(Lsn::from_u64(2));
    let before = fixture.queries().await;
    let created_us = fixture.database_now_us().await;
    for id in 1..=2 {
        fixture
            .insert(
                id,
                &format!("created_at = 'epoch'::timestamptz + {created_us} * interval '1 microsecond'"),
            )
            .await;
        fixture.deadlines.seen(Some(created_us));
    }
    fixture.wait_until("the rows are found", async |fixture| fixture.queries().await > before).await;
    // The connection is closed while it waits for the WAL.
    fixture
        .wait_until("the connection is closed", async |fixture| {
            fixture
                .number("select count(*) from pg_stat_activity where datname = current_database() and application_name = 'postrider'")
                .await
                == 0
        })
        .await;
    assert_eq!(fixture.commands(), []);
    // One of them was in flight.
    fixture
        .execute("update outbox set status = 'PUBLISH' where id = '00000000-0000-0000-0000-000000000001'")
        .await;
    fixture.settle(ALL);
    fixture.wait_for(&[Command::Sent(2)]).await;
}

#[tokio::test]
async fn reconciler_ends_with_the_session_wherever_it_waits() {
    let mut fixture = Fixture::new(SOON, 5 * MINUTE).await;
    fixture.start(Lsn::ZERO).await;
    fixture.close_session().await;

    fixture.started().await;
    fixture.close_session().await;

    fixture.kafka.state().is_down = true;
    fixture.startup.reset();
    fixture.published(1, 0, 5, 3600, 1).await;
    fixture.start(ALL).await;
    fixture.wait_until("it requests evidence", async |fixture| fixture.kafka.state().requests >= 2).await;
    fixture.close_session().await;

    fixture.startup.reset();
    fixture.insert(2, "created_at = now() - interval '1 day'").await;
    fixture.start(Lsn::from_u64(1)).await;
    let before = fixture.queries().await;
    fixture.wait_until("it queries", async |fixture| fixture.queries().await > before).await;
    fixture.close_session().await;
    assert_eq!(fixture.commands(), []);
}
