use outbox::{Columns, Status};
use outbox_store::{
    Database, Names, ReplayGroup, ReplayKind, ReplayPreview, ReplayProgress, ReplayRows, ReplayState,
    ReplayWatch, RowKey, Selection, TemplatePart, finish_replay, preview_replay, replay_request,
    request_replay, save_replay, start_replay, unfinished_replays,
};
use tokio::time::timeout;
use uuid::Uuid;

use crate::fixture::{Fixture, server, tls};

async fn rows(fixture: &Fixture, count: u32) {
    fixture
        .execute(&format!(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload, status, created_at)
             select lpad(to_hex(n), 32, '0')::uuid, 'order', (n % 10)::text, 'placed', '{{}}', 'PUBLISH',
                    timestamptz '2026-01-01 00:00:00+00' + n * interval '1 second'
             from generate_series(1, {count}) as n"
        ))
        .await;
}

async fn requested(fixture: &Fixture, selection: &Selection) -> Uuid {
    request_replay(&fixture.session, &fixture.names, selection, Some(7)).await.expect("it is requested")
}

#[tokio::test]
async fn request_is_read_back_as_inserted_and_its_changes_are_notified() {
    let fixture = Fixture::set_up().await;
    let selection = Selection {
        ids: vec![Uuid::from_u128(1), Uuid::from_u128(2)],
        statuses: vec![Status::Failed, Status::Init],
        from_us: Some(-5),
        to_us: Some(1_767_225_600_000_001),
        aggregate_type: Some("it's \\ \"a\"".to_owned()),
        aggregate_id: Some(String::new()),
        rows_max: Some(3),
    };
    let id = requested(&fixture, &selection).await;
    let request = replay_request(&fixture.session, id).await.expect("it is read").expect("it exists");
    let kind =
        ReplayKind::Replay { selection, requested_us: 1_767_225_600_000_001, rows_per_second: Some(7) };
    assert_eq!((request.kind, request.state), (kind, ReplayState::Queued));

    let config = server().url(&fixture.database).parse().expect("a URL");
    let database = Database { config, tls: tls(), names: fixture.names.clone() };
    let mut watch = ReplayWatch::new(&database, id).await.expect("it listens");
    assert!(start_replay(&fixture.session, id, 3).await.expect("it is saved"));
    timeout(std::time::Duration::from_secs(10), watch.changed()).await.expect("a change is notified");
    let running = watch.request().await.expect("it is read").expect("it exists");
    assert_eq!((running.state, running.rows_total), (ReplayState::Running, Some(3)));
    // A later count does not replace the first.
    assert!(start_replay(&fixture.session, id, 1).await.expect("it is saved"));
    let again = watch.request().await.expect("it is read").expect("it exists");
    assert_eq!(again.rows_total, Some(3));
}

#[tokio::test]
async fn request_without_a_past_end_selects_rows_created_before_it() {
    let fixture = Fixture::set_up().await;
    let now = || async {
        fixture.text("select (extract(epoch from clock_timestamp()) * 1000000)::int8::text").await
    };
    for to_us in [None, Some(i64::MAX / 4)] {
        let before: i64 = now().await.parse().expect("a number");
        let id = requested(&fixture, &Selection { to_us, ..Selection::default() }).await;
        let after: i64 = now().await.parse().expect("a number");
        let request = replay_request(&fixture.session, id).await.expect("it is read").expect("it exists");
        let ReplayKind::Replay { selection, requested_us, .. } = request.kind else { panic!("a replay") };
        assert_eq!(selection, Selection::default());
        assert!((before..=after).contains(&requested_us));
    }
}

#[tokio::test]
async fn save_replay_keeps_progress_until_the_end_and_finish_replay_keeps_cancelled() {
    let fixture = Fixture::set_up().await;
    let (first, second) =
        (requested(&fixture, &Selection::default()).await, requested(&fixture, &Selection::default()).await);
    let ids = async || -> Vec<Uuid> {
        let unfinished =
            unfinished_replays(&fixture.session, &fixture.names.slot, 10).await.expect("they are read");
        unfinished.iter().map(|request| request.id).collect()
    };
    assert_eq!(ids().await, [first, second]);
    for created_at_us in [Some(1_767_225_600_000_001), Some(i64::MIN), Some(i64::MAX), None] {
        start_replay(&fixture.session, second, 9).await.expect("it is saved");
        let last = Some(RowKey { created_at_us, id: Uuid::from_u128(5) });
        let progress = ReplayProgress { sent: 4, failed: 2, passed: 1, last };
        assert!(save_replay(&fixture.session, second, &progress).await.expect("it is saved"));
        let found = replay_request(&fixture.session, second).await.expect("it is read").expect("it exists");
        assert_eq!(found.progress, progress);
    }
    assert_eq!(ids().await, [second, first]);
    let cancelled = outbox_store::cancel_replay(&fixture.session, &fixture.names.slot, second).await;
    assert_eq!(cancelled.expect("the query succeeds"), outbox_store::Cancellation::Cancelled);
    let progress = ReplayProgress { sent: 5, ..ReplayProgress::default() };
    assert!(!save_replay(&fixture.session, second, &progress).await.expect("the query succeeds"));
    assert!(!start_replay(&fixture.session, second, 9).await.expect("the query succeeds"));
    finish_replay(&fixture.session, second, &progress, None).await.expect("it is saved");
    let found = replay_request(&fixture.session, second).await.expect("it is read").expect("it exists");
    assert_eq!((found.state, found.progress.sent), (ReplayState::Cancelled, 5));
    finish_replay(&fixture.session, first, &progress, Some("why")).await.expect("it is saved");
    let found = replay_request(&fixture.session, first).await.expect("it is read").expect("it exists");
    assert_eq!((found.state, found.last_error.as_deref()), (ReplayState::Failed, Some("why")));
    assert!(ids().await.is_empty());
}

#[tokio::test]
async fn are_transactions_visible_is_false_for_transactions_in_progress() {
    let fixture = Fixture::set_up().await;
    let visible = async |first, last| {
        outbox_store::are_transactions_visible(&fixture.session, first, last)
            .await
            .expect("the query succeeds")
    };
    fixture.execute("begin").await;
    let xid: u32 = fixture.text("select (pg_current_xact_id()::xid)::text").await.parse().expect("a number");
    // Transactions of other tests may be in progress, those of the bootstrap are not.
    assert!(visible(3, 600).await);
    assert!(!visible(xid - 1, xid).await);
    assert!(!visible(xid + 1000, xid + 1000).await);
    fixture.execute("commit").await;
    assert!(visible(xid - 1, xid).await);
}

#[tokio::test]
async fn replay_rows_reads_pages_and_rows_by_index_without_statistics() {
    let fixture = Fixture::set_up().await;
    fixture.execute("alter table outbox alter created_at drop not null; alter table outbox set (autovacuum_enabled = off)").await;
    rows(&fixture, 20_000).await;
    fixture
        .execute("update outbox set created_at = null where id <= lpad(to_hex(3000), 32, '0')::uuid")
        .await;
    let config: tokio_postgres::Config = server().url(&fixture.database).parse().expect("a URL");
    let session = outbox_store::connect(&config, &tls()).await.expect("PostgreSQL runs");
    ReplayRows::prepare(&session).await.expect("the session is prepared");
    let mut rows = ReplayRows::new(&session, &fixture.names, &Selection::default(), i64::MAX)
        .await
        .expect("the columns are read");
    assert_eq!(rows.count(&session).await.expect("they are counted"), 20_000);
    let before: i64 = scans(&fixture).await;
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let keys = rows.keys(&session, after, 1500).await.expect("they are read");
        let ids: Vec<Uuid> = keys.iter().map(|key| key.row.id).collect();
        let read = rows.read(&session, &ids).await.expect("they are read");
        assert_eq!(read.iter().map(|row| row.row.event.id).collect::<Vec<_>>(), ids);
        seen.extend(ids);
        after = keys.last().map(|key| key.row);
        if keys.len() < 1500 {
            break;
        }
    }
    assert_eq!(seen.len(), 20_000);
    let expected = fixture.text("select string_agg(id::text, ',' order by created_at, id) from outbox").await;
    assert_eq!(seen.iter().map(Uuid::to_string).collect::<Vec<_>>().join(","), expected);
    drop(session);
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(scans(&fixture).await - before, 1, "only the comparison above scans the table");
    // Once for the count and once for the pages. A page that scanned from the start would read far more.
    let read =
        "select sum(idx_tup_read)::text from pg_stat_user_indexes where indexrelname = 'outbox_created_at'";
    let read: i64 = fixture.text(read).await.parse().expect("a number");
    assert!((20_000..50_000).contains(&read), "{read}");
}

async fn scans(fixture: &Fixture) -> i64 {
    // A backend flushes its statistics at the end of a transaction, at most once per second.
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    fixture.execute("select 1").await;
    fixture.execute("select pg_stat_clear_snapshot()").await;
    fixture
        .text("select seq_scan::text from pg_stat_user_tables where relname = 'outbox'")
        .await
        .parse()
        .expect("a number")
}

#[tokio::test]
async fn replay_rows_works_without_created_at_and_with_one_without_a_time_zone() {
    for (column, dated) in [("timestamp", true), ("", false)] {
        let mut fixture = Fixture::empty().await;
        fixture.names.columns = Columns { id: "Event Id".to_owned(), ..Columns::default() };
        let column = if dated { format!("created_at {column} default now(),") } else { String::new() };
        fixture
            .execute(&format!(
                "create table outbox (\"Event Id\" uuid primary key, aggregate_type text, aggregate_id text,
                     event_type text, payload bytea, {column} status text default 'INIT', published_at timestamptz,
                     completed_at timestamptz, kafka_topic text, kafka_partition int, kafka_offset bigint,
                     attempts int, last_attempt_at timestamptz, last_error text)"
            ))
            .await;
        fixture.init().await;
        fixture
            .execute(&format!(
                "set timezone = 'America/New_York'; alter database {} set timezone = 'America/New_York';
                 insert into outbox (\"Event Id\", aggregate_type, aggregate_id, event_type, payload)
                 select lpad(to_hex(n), 32, '0')::uuid, 'a', 'b', 'c', '\\x01' from generate_series(1, 5) as n",
                fixture.database
            ))
            .await;
        let config: tokio_postgres::Config = server().url(&fixture.database).parse().expect("a URL");
        let session = outbox_store::connect(&config, &tls()).await.expect("PostgreSQL runs");
        let id =
            request_replay(&session, &fixture.names, &Selection::default(), None).await.expect("requested");
        let request = replay_request(&session, id).await.expect("it is read").expect("it exists");
        let ReplayKind::Replay { selection, requested_us, .. } = request.kind else { panic!("a replay") };
        let mut rows = ReplayRows::new(&session, &fixture.names, &selection, requested_us)
            .await
            .expect("the columns are read");
        assert_eq!(rows.count(&session).await.expect("they are counted"), 5);
        let first = rows.keys(&session, None, 2).await.expect("they are read");
        // A row inserted later is not selected.
        fixture
            .execute(
                "insert into outbox (\"Event Id\", aggregate_type, aggregate_id, event_type)
                 values (lpad('f', 32, 'f')::uuid, 'a', 'b', 'c')",
            )
            .await;
        let rest = rows.keys(&session, first.last().map(|key| key.row), 10).await.expect("they are read");
        let ids: Vec<u128> = first.iter().chain(&rest).map(|key| key.row.id.as_u128()).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5], "{column}");
    }
}

#[tokio::test]
async fn preview_replay_counts_rows_by_topic_and_state_keys_with_newer_rows_and_held_rows() {
    let fixture = Fixture::set_up().await;
    rows(&fixture, 100).await;
    let slot = &fixture.names.slot;
    fixture
        .execute(&format!(
            "alter table outbox alter aggregate_type drop not null, add urgent boolean;
             update outbox set urgent = aggregate_id = '3';
             update outbox set topic = 'ot''her' where aggregate_id = '1';
             update outbox set topic = '' where aggregate_id = '2';
             update outbox set aggregate_type = null where aggregate_id = '4';
             update outbox set partition_key = 'k' where aggregate_id = '5';
             update outbox set status = 'FAILED' where id < lpad(to_hex(20), 32, '0')::uuid;
             update outbox set status = 'INIT' where aggregate_id = '6';
             insert into postrider.held (slot, id, topic, key, head)
             select '{slot}', id, 't', 'k', false from outbox where aggregate_id = '6' and created_at < '2026-01-01 00:00:30+00'"
        ))
        .await;
    let topic =
        [TemplatePart::Text("it's."), TemplatePart::Column("aggregate_type"), TemplatePart::Column("urgent")];
    let key = [TemplatePart::Column("aggregate_id")];
    let preview = async |selection| {
        preview_replay(&fixture.session, &fixture.names, &selection, &topic, &key)
            .await
            .expect("it is counted")
    };
    let group = |topic: Option<&str>, status: &str, rows| ReplayGroup {
        topic: topic.map(str::to_owned),
        status: Some(status.to_owned()),
        rows,
    };
    let failed = Selection { statuses: vec![Status::Failed], ..Selection::default() };
    assert_eq!(
        preview(failed.clone()).await,
        ReplayPreview {
            groups: vec![
                group(Some("it's.orderfalse"), "FAILED", 11),
                group(Some("it's.ordertrue"), "FAILED", 2),
                group(Some("ot'her"), "FAILED", 2),
                group(None, "FAILED", 2),
            ],
            held: 0,
            keys: 8,
            keys_with_newer: Some(8),
        }
    );
    let limited = preview(Selection { rows_max: Some(2), ..failed }).await;
    assert_eq!((limited.groups.iter().map(|group| group.rows).sum::<u64>(), limited.keys), (2, 2));
    let all = preview(Selection::default()).await;
    assert_eq!((all.held, all.keys, all.keys_with_newer), (3, 9, Some(0)));
    let nothing = preview(Selection { ids: vec![Uuid::nil()], ..Selection::default() }).await;
    assert_eq!((nothing.groups, nothing.keys, nothing.keys_with_newer), (vec![], 0, Some(0)));
    let absent = Names {
        columns: Columns { created_at: "none".to_owned(), ..Columns::default() },
        ..fixture.names.clone()
    };
    let preview = preview_replay(&fixture.session, &absent, &Selection::default(), &topic, &key).await;
    assert_eq!(preview.expect("it is counted").keys_with_newer, None);
}
