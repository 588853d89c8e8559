use std::time::Duration;

use outbox::Status;
use outbox_store::{ReplayState, Selection};
use reconciler::ReplayOptions;
use tokio::time::{sleep, timeout};

use crate::fixture::{DEADLINE, Fixture, saving_often};
use crate::pump::{Pump, Sent, done};

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
async fn a_replay_killed_at_any_row_is_carried_on_and_skips_none() {
    let fixture = Fixture::set_up().await;
    fixture.execute("alter table outbox alter created_at drop not null").await;
    fixture.rows(1..=ROWS, Status::Publish).await;
    fixture.execute("update outbox set created_at = null where id > lpad(to_hex(30), 32, '0')::uuid").await;
    for (killed_at, unanswered) in (0..=ROWS as usize).flat_map(|row| [(row, 0), (row, row.min(4))]) {
        // A small rate makes small pages: they are crossed by the kills too.
        let request = fixture.request(Selection::default(), Some(500)).await;
        let sent = Sent::default();
        let pump = Pump::start(&fixture, &sent, done, killed_at, unanswered).await;
        let executor = fixture.executor(pump.publisher.clone(), saving_often());
        until("rows are taken", async || sent.numbers().len() >= killed_at).await;
        executor.task.abort();
        drop((executor, pump));
        let first_life = sent.numbers();

        let pump = Pump::endless(&fixture, &sent, done).await;
        let executor = fixture.executor(pump.publisher.clone(), saving_often());
        let found = fixture.finished(request).await;
        assert_eq!((found.state, found.progress.rows()), (ReplayState::Done, u64::from(ROWS)));
        let all = sent.numbers();
        let expected: Vec<u128> = (1..=u128::from(ROWS)).collect();
        assert_eq!(first_life, expected[..first_life.len()], "{killed_at} {unanswered}");
        // What was not answered for is repeated; of the rest, what was not saved.
        let second_life = &all[first_life.len()..];
        let begins_at = expected.len() - second_life.len();
        assert!(begins_at <= killed_at - unanswered, "{killed_at} {unanswered}: {begins_at}");
        assert_eq!(second_life, &expected[begins_at..], "{killed_at} {unanswered}");
        drop(executor);
    }
}

#[tokio::test]
async fn what_is_known_is_saved_when_the_life_is_over() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=ROWS, Status::Publish).await;
    let request = fixture.request(Selection::default(), None).await;
    let sent = Sent::default();
    let pump = Pump::start(&fixture, &sent, done, 20, 3).await;
    // It would not save by itself.
    let seldom = ReplayOptions { save_every: Duration::from_secs(3600), ..ReplayOptions::default() };
    let mut executor = fixture.executor(pump.publisher.clone(), seldom);
    until("rows are taken", async || sent.numbers().len() == 20).await;
    drop(pump);
    let ended = timeout(DEADLINE, &mut executor.task).await.expect("it ends").expect("without a panic");
    assert_eq!(ended.expect("without an error"), None);
    let found = fixture.of(request).await;
    assert_eq!((found.state, found.progress.sent), (ReplayState::Running, 17));
}

#[tokio::test]
async fn it_ends_when_nobody_announces_any_more() {
    let fixture = Fixture::set_up().await;
    let pump = Pump::endless(&fixture, &Sent::default(), done).await;
    let mut executor = fixture.executor(pump.publisher.clone(), saving_often());
    let (other, _) = tokio::sync::mpsc::channel(1);
    drop(std::mem::replace(&mut executor.announce, other));
    let ended = timeout(DEADLINE, &mut executor.task).await.expect("it ends").expect("without a panic");
    assert_eq!(ended.expect("without an error"), None);
}

#[tokio::test]
async fn alone_everything_up_to_the_request_is_executed_without_the_log_and_its_end_is_returned() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=4, Status::Init).await;
    let one = |row| Selection { ids: vec![crate::fixture::id(row)], ..Selection::default() };
    let (first, second) = (fixture.request(one(3), None).await, fixture.request(one(1), None).await);
    let later = fixture.request(one(2), None).await;
    let sent = Sent::default();
    let pump = Pump::endless(&fixture, &sent, done).await;
    pump.settled.send_replace(outbox::Lsn::ZERO);
    for _ in 0..2 {
        let mut executor =
            fixture.executor(pump.publisher.clone(), ReplayOptions { alone: Some(second), ..saving_often() });
        let ended = timeout(DEADLINE, &mut executor.task).await.expect("it ends").expect("without a panic");
        let ended = ended.expect("without an error").expect("it is finished");
        assert_eq!((ended.id, ended.state, ended.progress.sent), (second, ReplayState::Done, 1));
    }
    assert_eq!(sent.numbers(), [3, 1]);
    assert_eq!(fixture.of(first).await.state, ReplayState::Done);
    assert_eq!(fixture.of(later).await.state, ReplayState::Queued);
}

#[tokio::test]
async fn a_lost_connection_is_waited_out_and_nothing_is_skipped_or_repeated() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=3000, Status::Publish).await;
    let sent = Sent::default();
    let pump = Pump::endless(&fixture, &sent, done).await;
    let request = fixture.request(Selection::default(), Some(1500)).await;
    let _executor = fixture.executor(pump.publisher.clone(), saving_often());
    until("it is under way", async || sent.numbers().len() > 200).await;
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
