use std::time::Duration;

use outbox::{Lsn, Status};
use outbox_store::{Cancellation, ReplayState, Selection, cancel_replay};
use reconciler::{ReplayOptions, ResendCause, ResendOutcome};
use tokio::time::{Instant, sleep, timeout};

use crate::fixture::{DEADLINE, Fixture, id, saving_often};
use crate::main_loop::{MainLoop, Sent, done};

#[tokio::test]
async fn replay_sends_rows_by_created_at_and_id_with_null_last_and_the_id_of_the_request() {
    let fixture = Fixture::set_up().await;
    fixture.execute("alter table outbox alter created_at drop not null").await;
    fixture.rows(1..=2500, Status::Publish).await;
    // Ids in another order than timestamps, equal timestamps, infinities, and NULL.
    fixture
        .execute(
            "update outbox set created_at = timestamptz '2025-01-01' - extract(epoch from created_at) * interval '1 microsecond'
             where aggregate_id = '3';
             update outbox set created_at = '2024-01-01' where aggregate_id = '4';
             update outbox set created_at = '-infinity' where id = lpad(to_hex(77), 32, '0')::uuid;
             update outbox set created_at = 'infinity' where id = lpad(to_hex(78), 32, '0')::uuid;
             update outbox set created_at = null where aggregate_id = '5'",
        )
        .await;
    let sent = Sent::default();
    let main_loop = MainLoop::endless(&fixture, &sent, done).await;
    let request = fixture.request(Selection::default(), None).await;
    let _executor = fixture.executor(main_loop.resends.clone(), saving_often());
    let found = fixture.finished(request).await;
    assert_eq!((found.state, found.rows_total, found.progress.sent), (ReplayState::Done, Some(2499), 2499));
    let expected = fixture
        .text(
            "select string_agg(id::text, ',' order by created_at, id) from outbox
               where created_at is distinct from 'infinity'",
        )
        .await;
    let expected: Vec<(u128, ResendCause)> = expected
        .split(',')
        .map(|id| (id.parse::<uuid::Uuid>().unwrap().as_u128(), ResendCause::Replay(request)))
        .collect();
    assert_eq!(sent.all(), expected);
}

#[tokio::test]
async fn selection_applies_every_condition_and_limits_to_the_oldest() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=100, Status::Publish).await;
    fixture.rows(101..=200, Status::Failed).await;
    let second = |n: i64| (1_767_225_600 + n) * 1_000_000;
    let some = Selection::default;
    let expectations: [(Selection, Vec<u128>); 7] = [
        (Selection { ids: vec![id(9), id(150), id(3), id(999)], ..some() }, vec![3, 9, 150]),
        (
            Selection { statuses: vec![Status::Failed, Status::Complete], rows_max: Some(3), ..some() },
            vec![101, 102, 103],
        ),
        (Selection { from_us: Some(second(10)), to_us: Some(second(13)), ..some() }, vec![10, 11, 12]),
        (Selection { from_us: Some(second(199)), ..some() }, vec![199, 200]),
        (Selection { to_us: Some(second(3)), ..some() }, vec![1, 2]),
        (Selection { aggregate_id: Some("0".to_owned()), rows_max: Some(2), ..some() }, vec![7, 14]),
        (Selection { aggregate_type: Some("ord'er".to_owned()), ..some() }, vec![]),
    ];
    for (selection, expected) in expectations {
        let sent = Sent::default();
        let main_loop = MainLoop::endless(&fixture, &sent, done).await;
        let request = fixture.request(selection.clone(), None).await;
        let executor = fixture.executor(
            main_loop.resends.clone(),
            ReplayOptions { standalone: Some(request), ..saving_often() },
        );
        let found = fixture.finished(request).await;
        assert_eq!(sent.numbers(), expected, "{selection:?}");
        assert_eq!(found.rows_total, Some(expected.len() as u64), "{selection:?}");
        drop(executor);
        fixture.execute("update outbox set status = 'FAILED' where status = 'PUBLISH' and id > lpad(to_hex(100), 32, '0')::uuid").await;
    }
}

#[tokio::test]
async fn replay_counts_failed_and_passed_rows_and_continues() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=20, Status::Publish).await;
    let sent = Sent::default();
    let outcomes = |number| match number % 5 {
        0 => ResendOutcome::Failed("too large".to_owned()),
        1 => ResendOutcome::AlreadyInFlight,
        2 => ResendOutcome::Held,
        _ => ResendOutcome::Done,
    };
    let main_loop = MainLoop::endless(&fixture, &sent, outcomes).await;
    let request = fixture.request(Selection::default(), None).await;
    let _executor = fixture.executor(main_loop.resends.clone(), saving_often());
    let found = fixture.finished(request).await;
    let progress = found.progress;
    assert_eq!((progress.sent, progress.failed, progress.passed), (8, 4, 8));
    assert_eq!(found.state, ReplayState::Done);
}

#[tokio::test]
async fn replay_passes_over_held_rows_and_sends_their_head() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=1, Status::Failed).await;
    fixture.rows(2..=5, Status::Init).await;
    let slot = &fixture.database.names.slot;
    fixture
        .execute(&format!(
            "insert into postrider.held (slot, id, topic, key, head)
             select '{slot}', lpad(to_hex(n), 32, '0')::uuid, 't', 'k', n = 1 from generate_series(1, 3) as n"
        ))
        .await;
    let sent = Sent::default();
    let main_loop = MainLoop::endless(&fixture, &sent, done).await;
    let request = fixture.request(Selection::default(), None).await;
    let _executor = fixture.executor(main_loop.resends.clone(), saving_often());
    let found = fixture.finished(request).await;
    assert_eq!(sent.numbers(), [1, 4, 5]);
    assert_eq!((found.progress.sent, found.progress.passed), (3, 2));
}

#[tokio::test]
async fn replay_sends_an_init_row_only_after_the_wal_is_read_past_it_without_bringing_it() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=2, Status::Publish).await;
    fixture.rows(3..=4, Status::Init).await;
    let sent = Sent::default();
    let main_loop = MainLoop::endless(&fixture, &sent, done).await;
    main_loop.settled.send_replace(Lsn::ZERO);
    let selection = Selection { statuses: vec![Status::Init], ..Selection::default() };
    let request = fixture.request(selection, None).await;
    let _executor = fixture.executor(main_loop.resends.clone(), saving_often());
    fixture.queried("postrider.mark").await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(sent.numbers(), []);
    // The WAL brings one of them.
    fixture.execute("update outbox set status = 'PUBLISH' where id = lpad('3', 32, '0')::uuid").await;
    main_loop.settled.send_replace(Lsn::from_u64(u64::MAX));
    let found = fixture.finished(request).await;
    assert_eq!(sent.numbers(), [4]);
    assert_eq!((found.progress.sent, found.progress.passed), (1, 1));
}

#[tokio::test]
async fn replay_keeps_its_rate_and_stops_with_its_progress_when_cancelled() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=1000, Status::Publish).await;
    let sent = Sent::default();
    let main_loop = MainLoop::endless(&fixture, &sent, done).await;
    let began = Instant::now();
    let request = fixture.request(Selection { rows_max: Some(150), ..Selection::default() }, Some(100)).await;
    let endless = fixture.request(Selection::default(), Some(100)).await;
    let _executor = fixture.executor(main_loop.resends.clone(), saving_often());
    fixture.finished(request).await;
    assert!(began.elapsed() > Duration::from_millis(1300), "{:?}", began.elapsed());
    timeout(DEADLINE, async {
        while fixture.of(endless).await.progress.sent < 20 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it continues");
    let cancelled = async |id| {
        cancel_replay(&fixture.session, &fixture.database.names.slot, id).await.expect("the query succeeds")
    };
    assert_eq!(cancelled(endless).await, Cancellation::Cancelled);
    assert_eq!(cancelled(request).await, Cancellation::AlreadyFinished(ReplayState::Done));
    assert_eq!(cancelled(id(1)).await, Cancellation::NotFound);
    assert_eq!(cancelled(endless).await, Cancellation::AlreadyFinished(ReplayState::Cancelled));
    sleep(Duration::from_millis(300)).await;
    let (stopped, found) = (sent.numbers().len() as u64, fixture.of(endless).await);
    assert!(stopped < 260, "{stopped}");
    assert_eq!((found.state, 150 + found.progress.sent), (ReplayState::Cancelled, stopped));
    // It does not block the next one.
    let next = fixture.request(Selection { ids: vec![id(5)], ..Selection::default() }, None).await;
    drop(_executor);
    let _executor = fixture.executor(main_loop.resends.clone(), saving_often());
    assert_eq!(fixture.finished(next).await.progress.sent, 1);
    assert_eq!(fixture.of(endless).await.state, ReplayState::Cancelled);
}
