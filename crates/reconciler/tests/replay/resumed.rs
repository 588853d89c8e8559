use std::time::Duration;

use outbox::Status;
use outbox_store::{ReplayState, Selection};
use reconciler::ReplayOptions;
use tokio::time::{sleep, timeout};

use crate::fixture::{DEADLINE, Fixture, saving_often};
use crate::main_loop::{MainLoop, Sent, done};

const ROWS: u32 = 45;

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn replay_killed_at_any_row_is_resumed_without_skipping_a_row() {
    let fixture = Fixture::set_up().await;
    fixture.execute("alter table outbox alter created_at drop not null").await;
    fixture.rows(1..=ROWS, Status::Publish).await;
    fixture.execute("update outbox set created_at = null where id > lpad(to_hex(30), 32, '0')::uuid").await;
    for (killed_at, unanswered) in (0..=ROWS as usize).flat_map(|row| [(row, 0), (row, row.min(4))]) {
        // A low rate makes small pages, so that replays are killed between pages too.
        let request = fixture.request(Selection::default(), Some(500)).await;
        let sent = Sent::default();
        let main_loop = MainLoop::start(&fixture, &sent, done, killed_at, unanswered).await;
        let executor = fixture.executor(main_loop.resends.clone(), saving_often());
        until("rows are taken", async || sent.numbers().len() >= killed_at).await;
        executor.task.abort();
        drop((executor, main_loop));
        let first_session = sent.numbers();

        let main_loop = MainLoop::endless(&fixture, &sent, done).await;
        let executor = fixture.executor(main_loop.resends.clone(), saving_often());
        let found = fixture.finished(request).await;
        assert_eq!((found.state, found.progress.rows()), (ReplayState::Done, u64::from(ROWS)));
        let all = sent.numbers();
        let expected: Vec<u128> = (1..=u128::from(ROWS)).collect();
        assert_eq!(first_session, expected[..first_session.len()], "{killed_at} {unanswered}");
        // Rows without an outcome are sent again, and rows whose outcome was not saved.
        let second_session = &all[first_session.len()..];
        let begins_at = expected.len() - second_session.len();
        assert!(begins_at <= killed_at - unanswered, "{killed_at} {unanswered}: {begins_at}");
        assert_eq!(second_session, &expected[begins_at..], "{killed_at} {unanswered}");
        drop(executor);
    }
}

#[tokio::test]
async fn executor_saves_the_progress_when_the_session_closes() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=ROWS, Status::Publish).await;
    let request = fixture.request(Selection::default(), None).await;
    let sent = Sent::default();
    let main_loop = MainLoop::start(&fixture, &sent, done, 20, 3).await;
    let seldom = ReplayOptions { save_every: Duration::from_secs(3600), ..ReplayOptions::default() };
    let mut executor = fixture.executor(main_loop.resends.clone(), seldom);
    until("rows are taken", async || sent.numbers().len() == 20).await;
    drop(main_loop);
    let ended = timeout(DEADLINE, &mut executor.task).await.expect("it ends").expect("without a panic");
    assert_eq!(ended.expect("without an error"), None);
    let found = fixture.of(request).await;
    assert_eq!((found.state, found.progress.sent), (ReplayState::Running, 17));
}

#[tokio::test]
async fn executor_ends_when_the_notifier_is_dropped() {
    let fixture = Fixture::set_up().await;
    let main_loop = MainLoop::endless(&fixture, &Sent::default(), done).await;
    let mut executor = fixture.executor(main_loop.resends.clone(), saving_often());
    executor.notifier = None;
    let ended = timeout(DEADLINE, &mut executor.task).await.expect("it ends").expect("without a panic");
    assert_eq!(ended.expect("without an error"), None);
}

#[tokio::test]
async fn standalone_executor_executes_up_to_its_request_without_the_wal_and_returns_it() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=4, Status::Init).await;
    let one = |row| Selection { ids: vec![crate::fixture::id(row)], ..Selection::default() };
    let (first, second) = (fixture.request(one(3), None).await, fixture.request(one(1), None).await);
    let later = fixture.request(one(2), None).await;
    let sent = Sent::default();
    let main_loop = MainLoop::endless(&fixture, &sent, done).await;
    main_loop.settled.send_replace(outbox::Lsn::ZERO);
    for _ in 0..2 {
        let mut executor = fixture.executor(
            main_loop.resends.clone(),
            ReplayOptions { standalone: Some(second), ..saving_often() },
        );
        let ended = timeout(DEADLINE, &mut executor.task).await.expect("it ends").expect("without a panic");
        let ended = ended.expect("without an error").expect("it is finished");
        assert_eq!((ended.id, ended.state, ended.progress.sent), (second, ReplayState::Done, 1));
    }
    assert_eq!(sent.numbers(), [3, 1]);
    assert_eq!(fixture.of(first).await.state, ReplayState::Done);
    assert_eq!(fixture.of(later).await.state, ReplayState::Queued);
}

#[tokio::test]
async fn replay_continues_after_a_lost_connection_without_skipping_or_repeating_a_row() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=3000, Status::Publish).await;
    let sent = Sent::default();
    let main_loop = MainLoop::endless(&fixture, &sent, done).await;
    let request = fixture.request(Selection::default(), Some(1500)).await;
    let _executor = fixture.executor(main_loop.resends.clone(), saving_often());
    until("it is running", async || sent.numbers().len() > 200).await;
    fixture
        .execute(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and application_name = 'postrider'",
        )
        .await;
    until("it is done", async || fixture.text("select state from postrider.replay").await == "done").await;
    assert_eq!(sent.numbers(), (1..=3000).collect::<Vec<u128>>());
    assert_eq!(
        fixture.text(&format!("select rows_sent::text from postrider.replay where id = '{request}'")).await,
        "3000"
    );
}
