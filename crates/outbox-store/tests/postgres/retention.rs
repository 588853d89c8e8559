//! Which rows go, and which never do.

use std::time::Duration;

use outbox_store::{Retention, connect};

use crate::fixture::{Fixture, tls};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Rows of every status, of which those called `old` are to go after a day.
const ROWS: &str = "
insert into outbox (id, aggregate_type, aggregate_id, event_type, status, created_at, completed_at)
select gen_random_uuid(), 'order', '1', name, status, now() - created::interval, now() - completed::interval
from (values
    ('old', 'COMPLETE', '3 days', '2 days'),
    ('old', 'COMPLETE', '25 hours', '25 hours'),
    ('old', 'COMPLETE', '30 hours', '40 hours'),
    ('completed late', 'COMPLETE', '3 days', '23 hours'),
    ('young', 'COMPLETE', '2 hours', '1 hour'),
    ('claims to be younger than its end', 'COMPLETE', '2 hours', '2 days'),
    ('complete without a time', 'COMPLETE', '3 days', null),
    ('never sent', 'INIT', '3 days', '2 days'),
    ('not consumed', 'PUBLISH', '3 days', '2 days'),
    ('given up', 'FAILED', '3 days', '2 days')) as v (name, status, created, completed)";

pub(crate) async fn retention(fixture: &Fixture) -> Retention<'_> {
    Retention::new(fixture.connect().await, &fixture.names).await.expect("it begins")
}

/// A pass over the table; how many rows each batch looked at and deleted.
pub(crate) async fn sweep(fixture: &Fixture, complete_after: Duration) -> Vec<(u64, u64)> {
    let retention = retention(fixture).await;
    let mark = retention.mark(complete_after).await.expect("the log is marked");
    let mut batches = Vec::new();
    for table in retention.swept_tables().await.expect("they are known") {
        let mut sweep = retention.sweep(&table, &mark).await.expect("it is prepared");
        loop {
            let swept = sweep.batch().await.expect("a batch is deleted");
            batches.push((swept.looked_at, swept.deleted));
            if swept.last {
                break;
            }
        }
    }
    batches
}

async fn left(fixture: &Fixture) -> String {
    fixture.text("select coalesce(string_agg(event_type, ', ' order by event_type), '') from outbox").await
}

#[tokio::test]
async fn only_rows_that_are_complete_and_old_go() {
    let fixture = Fixture::set_up().await;
    fixture.execute(ROWS).await;
    let kept = "claims to be younger than its end, complete without a time, completed late, given up, \
                never sent, not consumed, young";
    assert_eq!(sweep(&fixture, DAY).await, [(8, 3)]);
    assert_eq!(left(&fixture).await, kept);
    assert_eq!(sweep(&fixture, DAY).await, [(5, 0)], "what stays is looked at again and stays");
    assert_eq!(left(&fixture).await, kept);
    sweep(&fixture, Duration::ZERO).await;
    assert_eq!(left(&fixture).await, "complete without a time, given up, never sent, not consumed");
}

#[tokio::test]
async fn a_locked_row_is_left_for_the_next_pass_and_one_that_changes_is_not_deleted() {
    let fixture = Fixture::set_up().await;
    fixture.execute(ROWS).await;
    fixture.execute("begin; select from outbox where event_type = 'old' for update").await;
    assert_eq!(sweep(&fixture, DAY).await, [(8, 0)]);
    fixture.execute("update outbox set status = 'FAILED' where event_type = 'old'; commit").await;
    assert_eq!(sweep(&fixture, DAY).await, [(8, 0)]);
}

#[tokio::test]
async fn many_rows_go_in_pages_by_the_index_and_each_page_is_read_once() {
    let fixture = Fixture::set_up().await;
    // The same moment for many rows: a page ends and begins between their ids.
    fixture
        .execute(
            "alter table outbox set (autovacuum_enabled = off);
             insert into outbox (id, aggregate_type, aggregate_id, event_type, status, created_at, completed_at)
             select gen_random_uuid(), 'order', '1', 'old', case when n % 10 = 0 then 'PUBLISH' else 'COMPLETE' end,
                    date_trunc('day', now()) - interval '30 days' + n / 1300 * interval '1 hour', now() - interval '2 days'
             from generate_series(1, 5200) as n;
             insert into outbox (id, aggregate_type, aggregate_id, event_type, status, completed_at)
             select gen_random_uuid(), 'order', '1', 'young', 'COMPLETE', now() from generate_series(1, 5000)",
        )
        .await;
    let counts = "select concat_ws(' ', seq_scan, idx_tup_read) from pg_stat_user_tables t
                  join pg_stat_user_indexes i using (relid) where t.relname = 'outbox'
                  and i.indexrelname = 'outbox_created_at'";
    let before = fixture.text(counts).await;
    let batches = sweep(&fixture, DAY).await;
    assert_eq!(batches.len(), 11, "{batches:?}");
    assert!(batches[..10].iter().all(|(looked_at, _)| *looked_at == 500), "{batches:?}");
    assert_eq!(batches[10].0, 200);
    assert_eq!(batches.iter().map(|(_, deleted)| deleted).sum::<u64>(), 4680);
    assert_eq!(fixture.text("select count(*)::text from outbox where status = 'PUBLISH'").await, "520");
    assert_eq!(fixture.text("select count(*)::text from outbox where event_type = 'young'").await, "5000");
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let after = fixture.text(counts).await;
        let number =
            |text: &str, n: usize| text.split(' ').nth(n).and_then(|n| n.parse::<i64>().ok()).unwrap();
        let (scans, entries) =
            (number(&after, 0) - number(&before, 0), number(&after, 1) - number(&before, 1));
        // Each row once for its page and once or twice to lock and delete it. StuckRowCursor that all began at the first row
        // would read some 30 000, and pages that did not end before the young rows more still.
        if entries >= 5200 {
            // Counting above reads the whole table, twice.
            assert!(scans <= 2, "sequential scans: {scans}");
            assert!(entries < 16_000, "index entries: {entries}");
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{after}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn times_without_zone_and_names_of_any_kind_do() {
    let mut fixture = Fixture::empty().await;
    fixture.names.columns.completed_at = "Done \"At\"".to_owned();
    fixture.names.table.name = "Out Box".to_owned();
    fixture.init().await;
    fixture
        .execute(
            "alter table \"Out Box\" alter created_at type timestamp, alter \"Done \"\"At\"\"\" type timestamp",
        )
        .await;
    fixture
        .execute(
            "insert into \"Out Box\" (id, aggregate_type, aggregate_id, event_type, status, created_at, \"Done \"\"At\"\"\")
             select gen_random_uuid(), 'order', '1', 'x', 'COMPLETE', t, t from
             (values (now() - interval '25 hours'), (now() - interval '23 hours'), ('-infinity'), ('infinity')) as v (t)",
        )
        .await;
    assert_eq!(sweep(&fixture, DAY).await, [(2, 2)]);
}

#[tokio::test]
async fn the_slot_is_past_a_mark_once_its_durable_position_is() {
    let fixture = Fixture::set_up().await;
    let retention = retention(&fixture).await;
    let mark = retention.mark(DAY).await.expect("the log is marked");
    assert!(!retention.is_past(&mark).await.expect("it is asked"));
    let advance =
        format!("select pg_replication_slot_advance('{}', pg_current_wal_lsn())", fixture.names.slot);
    // A checkpoint logs which transactions are running, from where decoding can begin.
    for _ in 0..10 {
        fixture.execute("checkpoint").await;
        fixture.execute(&advance).await;
        if retention.is_past(&mark).await.expect("it is asked") {
            return;
        }
        // Tests beside this one have transactions open.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("the slot has not moved");
}

#[tokio::test]
async fn role_without_delete_gets_the_grant_statement() {
    let mut fixture = Fixture::set_up().await;
    fixture.execute(ROWS).await;
    let (role, config) = fixture.role("replication").await;
    fixture
        .execute(&format!(
            "grant select, update on outbox to {role}; grant usage on schema postrider to {role};
             grant all on all tables in schema postrider to {role}"
        ))
        .await;
    fixture.session = connect(&config, &tls()).await.expect("it may log in");
    assert_eq!(fixture.check().await.problems, []);
    let session = connect(&config, &tls()).await.expect("it may log in");
    let retention = Retention::new(session, &fixture.names).await.expect("it begins");
    let mark = retention.mark(DAY).await.expect("any role may mark the log");
    let refused = retention.sweep(&fixture.names.table, &mark).await;
    let error = match refused {
        Err(error) => error,
        Ok(mut sweep) => sweep.batch().await.expect_err("it may not"),
    };
    assert!(
        !error.is_retryable() && error.to_string().contains("DELETE on \"public\".\"outbox\""),
        "{error}"
    );

    let problems = fixture.check_with(true).await.problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    fixture.execute(&problems[0].remedy).await;
    assert_eq!(fixture.check_with(true).await.problems, []);
    let mut sweep = retention.sweep(&fixture.names.table, &mark).await.expect("now it may");
    assert_eq!(sweep.batch().await.expect("now it may").deleted, 3);
}
