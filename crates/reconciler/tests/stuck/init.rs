//! Rows that say INIT.

use std::time::Duration;

use outbox::Lsn;

use crate::fixture::{ALL, Did, Fixture};

const MINUTE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_row_that_was_seen_and_never_settles_is_sent() {
    let mut fixture = Fixture::new(SOON, 5 * MINUTE).await;
    fixture.started().await;
    let created = "2020-01-01 12:00:00Z";
    fixture.insert(1, &format!("created_at = '{created}'")).await;
    fixture.insert(2, "created_at = now()").await;
    let created_us =
        fixture.number(&format!("select extract(epoch from '{created}'::timestamptz)::int8 * 1000000")).await;
    fixture.account.seen(Some(created_us));
    // The other one is not overdue, and not in the range.
    fixture.wait_for(&[Did::Sent(1)]).await;
}

#[tokio::test]
async fn a_row_that_is_still_ahead_in_the_log_is_never_planned() {
    let mut fixture = Fixture::new(SOON, 5 * MINUTE).await;
    fixture.started().await;
    fixture.settle(Lsn::from_u64(2));
    let before = fixture.queries().await;
    let now = fixture.database_now_us().await;
    for id in 1..=2 {
        fixture.insert(id, "created_at = now()").await;
    }
    fixture.account.seen(Some(now));
    fixture.account.seen(Some(fixture.database_now_us().await));
    fixture.wait_until("the rows are found", async |fixture| fixture.queries().await > before).await;
    // The connection is not kept while the log comes along.
    fixture
        .wait_until("the connection is closed", async |fixture| {
            fixture
                .number("select count(*) from pg_stat_activity where datname = current_database() and application_name = 'postrider'")
                .await
                == 0
        })
        .await;
    assert_eq!(fixture.did(), []);
    // One of them was on its way.
    fixture
        .execute("update outbox set status = 'PUBLISH' where id = '00000000-0000-0000-0000-000000000001'")
        .await;
    fixture.settle(ALL);
    fixture.wait_for(&[Did::Sent(2)]).await;
}

#[tokio::test]
async fn the_end_of_the_life_ends_it_wherever_it_waits() {
    let mut fixture = Fixture::new(SOON, 5 * MINUTE).await;
    fixture.start(Lsn::ZERO).await;
    fixture.end_life().await;

    fixture.started().await;
    fixture.end_life().await;

    fixture.kafka.state().away = true;
    fixture.published(1, 0, 5, 3600, 1).await;
    fixture.start(ALL).await;
    fixture.wait_until("it asks", async |fixture| fixture.kafka.state().asked >= 2).await;
    fixture.end_life().await;

    fixture.insert(2, "created_at = now() - interval '1 day'").await;
    fixture.start(Lsn::from_u64(1)).await;
    let before = fixture.queries().await;
    fixture.wait_until("it looks", async |fixture| fixture.queries().await > before).await;
    fixture.end_life().await;
    assert_eq!(fixture.did(), []);
}
