//! Requests that are read from the WAL.

use std::time::Duration;

use outbox::{Lsn, Status};
use outbox_store::{Names, ReplayState, Selection, request_replay, request_skip};
use reconciler::{ReplayNotice, ResendCause, ResendOutcome};
use tokio::time::sleep;
use uuid::Uuid;

use crate::fixture::{Executor, Fixture, id, saving_often};
use crate::main_loop::{MainLoop, Sent, done};

/// A transaction that every snapshot sees.
const OLD_XID: u32 = 3;

impl Executor {
    fn notify(&self, id: Uuid, xid: u32, commit_lsn: Lsn) {
        self.notifier.as_ref().expect("it is open").notify(ReplayNotice { id, xid, commit_lsn });
    }
}

#[tokio::test]
async fn executor_executes_each_request_once_in_order_and_after_everything_before_it_is_settled() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=30, Status::Publish).await;
    let sent = Sent::default();
    let main_loop = MainLoop::endless(&fixture, &sent, done).await;
    main_loop.settled.send_replace(Lsn::from_u64(10));
    let executor = fixture.started_executor(main_loop.resends.clone()).await;
    let mut requests = Vec::new();
    for n in 1..=10 {
        let request = fixture.request(Selection { ids: vec![id(n)], ..Selection::default() }, None).await;
        executor.notify(request, OLD_XID, Lsn::from_u64(9 + n as u64));
        executor.notify(request, OLD_XID, Lsn::from_u64(9 + n as u64));
        requests.push(request);
    }
    fixture.finished(requests[0]).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(sent.numbers(), [1]);
    main_loop.settled.send_replace(Lsn::from_u64(1000));
    fixture.finished(requests[9]).await;
    assert_eq!(sent.numbers(), (1..=10).collect::<Vec<u128>>());
}

#[tokio::test]
async fn executor_ignores_deleted_cancelled_and_finished_requests() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=1, Status::Publish).await;
    let sent = Sent::default();
    let main_loop = MainLoop::endless(&fixture, &sent, done).await;
    let executor = fixture.started_executor(main_loop.resends.clone()).await;
    let cancelled = fixture.request(Selection::default(), None).await;
    let slot = &fixture.database.names.slot;
    outbox_store::cancel_replay(&fixture.session, slot, cancelled).await.expect("it is cancelled");
    executor.notify(id(1234), OLD_XID, Lsn::ZERO);
    executor.notify(cancelled, OLD_XID, Lsn::ZERO);
    let request = fixture.request(Selection::default(), None).await;
    executor.notify(request, OLD_XID, Lsn::ZERO);
    assert_eq!(fixture.finished(request).await.progress.sent, 1);
    executor.notify(request, OLD_XID, Lsn::ZERO);
    let next = fixture.request(Selection::default(), None).await;
    executor.notify(next, OLD_XID, Lsn::ZERO);
    assert_eq!(fixture.finished(next).await.progress.sent, 1);
    assert_eq!(sent.numbers(), [1, 1]);
    assert_eq!(fixture.of(cancelled).await.state, ReplayState::Cancelled);
}

#[tokio::test]
async fn executor_reads_unfinished_requests_of_its_slot_from_the_table_at_the_start() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=1, Status::Publish).await;
    let names = Names { slot: "another".to_owned(), ..fixture.database.names.clone() };
    let other =
        request_replay(&fixture.session, &names, &Selection::default(), None).await.expect("it is requested");
    let request = fixture.request(Selection::default(), None).await;
    let main_loop = MainLoop::endless(&fixture, &Sent::default(), done).await;
    let _executor = fixture.executor(main_loop.resends.clone(), saving_often());
    assert_eq!(fixture.finished(request).await.progress.sent, 1);
    assert_eq!(fixture.of(other).await.state, ReplayState::Queued);
}

#[tokio::test]
async fn executor_reads_requests_beyond_the_capacity_of_the_queue_from_the_table() {
    const REQUESTS: u32 = 1100;
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=1, Status::Publish).await;
    let sent = Sent::default();
    let main_loop = MainLoop::endless(&fixture, &sent, done).await;
    main_loop.settled.send_replace(Lsn::from_u64(10));
    let executor = fixture.started_executor(main_loop.resends.clone()).await;
    // Only the last of them exists.
    for n in 0..REQUESTS {
        executor.notify(id(10_000 + u128::from(n)), OLD_XID, Lsn::from_u64(10));
    }
    let request = fixture.request(Selection::default(), None).await;
    executor.notify(request, OLD_XID, Lsn::from_u64(11));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(sent.numbers(), []);
    main_loop.settled.send_replace(Lsn::from_u64(11));
    assert_eq!(fixture.finished(request).await.progress.sent, 1);
}

// As between a commit record in the WAL and the visibility of its transaction.
#[tokio::test]
async fn executor_waits_until_a_request_is_visible() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=1, Status::Publish).await;
    let sent = Sent::default();
    let main_loop = MainLoop::endless(&fixture, &sent, done).await;
    let executor = fixture.started_executor(main_loop.resends.clone()).await;
    let (slot, request) = (&fixture.database.names.slot, id(42));
    fixture
        .execute(&format!(
            "begin; insert into postrider.replay (id, slot, created_before) values ('{request}', '{slot}', now())"
        ))
        .await;
    let xid = fixture.text("select (pg_current_xact_id()::xid)::text").await.parse().expect("a number");
    executor.notify(request, xid, Lsn::ZERO);
    sleep(Duration::from_millis(300)).await;
    assert_eq!(sent.numbers(), []);
    fixture.execute("commit").await;
    assert_eq!(fixture.finished(request).await.progress.sent, 1);
}

#[tokio::test]
async fn executor_that_waits_for_visibility_ends_with_the_session() {
    let fixture = Fixture::set_up().await;
    let main_loop = MainLoop::endless(&fixture, &Sent::default(), done).await;
    let mut executor = fixture.executor(main_loop.resends.clone(), saving_often());
    fixture.execute("begin").await;
    let xid = fixture.text("select (pg_current_xact_id()::xid)::text").await.parse().expect("a number");
    executor.notify(id(42), xid, Lsn::ZERO);
    sleep(Duration::from_millis(200)).await;
    drop(main_loop);
    let result = tokio::time::timeout(Duration::from_secs(5), &mut executor.task).await;
    assert_eq!(result.expect("it ends").expect("without a panic").expect("without an error"), None);
}

#[tokio::test]
async fn skip_releases_the_rows_behind_a_head_only() {
    let fixture = Fixture::set_up().await;
    let names = &fixture.database.names;
    let skip = async |row| request_skip(&fixture.session, names, row).await.expect("the query succeeds");
    assert_eq!(skip(id(1)).await, None);
    fixture
        .execute(&format!(
            "insert into postrider.held (slot, id, topic, key, head)
             select '{}', lpad(to_hex(n), 32, '0')::uuid, 't', 'k', n < 3 from generate_series(1, 3) as n",
            names.slot
        ))
        .await;
    assert_eq!(skip(id(3)).await, None);
    let (first, second) = (skip(id(1)).await.expect("a head"), skip(id(2)).await.expect("a head"));
    let sent = Sent::default();
    let outcomes = |number| if number == 1 { ResendOutcome::Done } else { ResendOutcome::NothingHeld };
    let main_loop = MainLoop::endless(&fixture, &sent, outcomes).await;
    let _executor = fixture.executor(main_loop.resends.clone(), saving_often());
    assert_eq!(fixture.finished(first).await.state, ReplayState::Done);
    let found = fixture.finished(second).await;
    assert_eq!(found.state, ReplayState::Failed);
    assert!(found.last_error.expect("a reason").contains("no rows are held behind row"), "a reason");
    assert_eq!(sent.all(), [(1, ResendCause::HeldKey), (2, ResendCause::HeldKey)]);
}

// The session that released the rows closed before it could save that.
#[tokio::test]
async fn skip_that_was_running_and_finds_nothing_held_is_done() {
    let fixture = Fixture::set_up().await;
    let (slot, request) = (&fixture.database.names.slot, id(42));
    fixture
        .execute(&format!(
            "insert into postrider.replay (id, slot, kind, ids, state, rows_total, started_at)
             values ('{request}', '{slot}', 'skip', array['{}'::uuid], 'running', 1, now())",
            id(1)
        ))
        .await;
    let main_loop = MainLoop::endless(&fixture, &Sent::default(), |_| ResendOutcome::NothingHeld).await;
    let _executor = fixture.executor(main_loop.resends.clone(), saving_often());
    let found = fixture.finished(request).await;
    assert_eq!((found.state, found.progress.passed, found.last_error), (ReplayState::Done, 1, None));
}

#[tokio::test]
async fn executor_marks_a_request_failed_if_the_database_rejects_a_query_and_executes_the_next_one() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=1, Status::Publish).await;
    let main_loop = MainLoop::endless(&fixture, &Sent::default(), done).await;
    let executor = fixture.started_executor(main_loop.resends.clone()).await;
    fixture.execute("alter table outbox rename payload to load").await;
    let request = fixture.request(Selection::default(), None).await;
    executor.notify(request, OLD_XID, Lsn::ZERO);
    let found = fixture.finished(request).await;
    assert_eq!(found.state, ReplayState::Failed);
    assert!(found.last_error.expect("a reason").contains("payload"), "the column is named");
    fixture.execute("alter table outbox rename load to payload").await;
    let next = fixture.request(Selection::default(), None).await;
    executor.notify(next, OLD_XID, Lsn::ZERO);
    assert_eq!(fixture.finished(next).await.progress.sent, 1);
}

#[tokio::test]
async fn executor_needs_select_and_update_on_the_requests_only() {
    let mut fixture = Fixture::set_up().await;
    fixture.rows(1..=3, Status::Init).await;
    let request = fixture.request(Selection::default(), None).await;
    let role = fixture.database.names.slot.replace("slot", "role");
    fixture
        .execute(&format!(
            "create role {role} login password 'secret'; grant usage on schema postrider to {role};
             grant select, update on postrider.replay, outbox to {role}; grant select on postrider.held to {role}"
        ))
        .await;
    let main_loop = MainLoop::endless(&fixture, &Sent::default(), done).await;
    fixture.database.config.user(&role).password("secret");
    let executor = fixture.executor(main_loop.resends.clone(), saving_often());
    assert_eq!(fixture.finished(request).await.progress.sent, 3);
    let next = fixture.request(Selection::default(), None).await;
    executor.notify(next, OLD_XID, Lsn::ZERO);
    assert_eq!(fixture.finished(next).await.progress.sent, 3);
}
