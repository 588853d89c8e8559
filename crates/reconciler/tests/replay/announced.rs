use std::time::Duration;

use outbox::{Lsn, Status};
use outbox_store::{Names, ReplayState, Selection, request_replay, request_skip};
use reconciler::{Announced, Missed, Origin, Outcome, Told};
use tokio::time::sleep;
use uuid::Uuid;

use crate::fixture::{Executor, Fixture, id, saving_often};
use crate::pump::{Pump, Sent, done};

impl Executor {
    async fn announces(&self, id: Uuid, xid: Option<u32>, lsn: Lsn) {
        self.tells(Announced::Request(Told { id, xid, lsn })).await;
    }

    async fn tells(&self, announced: Announced) {
        self.announce.send(announced).await.expect("it is taken");
    }
}

#[tokio::test]
async fn announced_requests_are_executed_in_order_once_and_after_what_the_log_brought_before() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=30, Status::Publish).await;
    let sent = Sent::default();
    let pump = Pump::endless(&fixture, &sent, done).await;
    pump.settled.send_replace(Lsn::from_u64(10));
    let executor = fixture.executor(pump.publisher.clone(), saving_often());
    sleep(Duration::from_millis(100)).await;
    let mut requests = Vec::new();
    for n in 1..=10 {
        let request = fixture.request(Selection { ids: vec![id(n)], ..Selection::default() }, None).await;
        executor.announces(request, None, Lsn::from_u64(9 + n as u64)).await;
        executor.announces(request, None, Lsn::from_u64(9 + n as u64)).await;
        requests.push(request);
    }
    fixture.finished(requests[0]).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(sent.numbers(), [1]);
    pump.settled.send_replace(Lsn::from_u64(1000));
    fixture.finished(requests[9]).await;
    assert_eq!(sent.numbers(), (1..=10).collect::<Vec<u128>>());
}

#[tokio::test]
async fn a_message_without_its_row_is_counted_and_ignored_and_one_for_another_slot_is_not_counted() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=1, Status::Publish).await;
    let sent = Sent::default();
    let pump = Pump::endless(&fixture, &sent, done).await;
    let executor = fixture.executor(pump.publisher.clone(), saving_often());
    sleep(Duration::from_millis(100)).await;
    let names = Names { slot: "another".to_owned(), ..fixture.database.names.clone() };
    let other =
        request_replay(&fixture.session, &names, &Selection::default(), None).await.expect("it is requested");
    executor.announces(other, None, Lsn::ZERO).await;
    executor.announces(id(1234), Some(3), Lsn::ZERO).await;
    let request = fixture.request(Selection::default(), None).await;
    executor.announces(request, None, Lsn::ZERO).await;
    assert_eq!(fixture.finished(request).await.progress.sent, 1);
    assert_eq!(fixture.counts.unknown(), 1);
    assert_eq!(fixture.of(other).await.state, ReplayState::Queued);
}

#[tokio::test]
async fn requests_that_were_too_many_to_be_told_of_are_all_executed() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=70, Status::Publish).await;
    let sent = Sent::default();
    let pump = Pump::endless(&fixture, &sent, done).await;
    pump.settled.send_replace(Lsn::from_u64(10));
    let executor = fixture.executor(pump.publisher.clone(), saving_often());
    sleep(Duration::from_millis(100)).await;
    let mut last = Uuid::nil();
    for n in 1..=70 {
        last = fixture.request(Selection { ids: vec![id(n)], ..Selection::default() }, None).await;
    }
    executor.tells(Announced::Missed(Missed { lsn: Lsn::from_u64(11), xids: None })).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(sent.numbers(), []);
    pump.settled.send_replace(Lsn::from_u64(11));
    fixture.finished(last).await;
    assert_eq!(sent.numbers(), (1..=70).collect::<Vec<u128>>());
}

#[tokio::test]
async fn requests_that_were_missed_and_cannot_be_seen_yet_are_waited_for() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=1, Status::Publish).await;
    let sent = Sent::default();
    let pump = Pump::endless(&fixture, &sent, done).await;
    let executor = fixture.executor(pump.publisher.clone(), saving_often());
    sleep(Duration::from_millis(100)).await;
    let (slot, request) = (&fixture.database.names.slot, id(42));
    fixture
        .execute(&format!(
            "begin; insert into postrider.replay (id, slot, created_before) values ('{request}', '{slot}', now())"
        ))
        .await;
    let xid: u32 = fixture.text("select (pg_current_xact_id()::xid)::text").await.parse().expect("a number");
    let missed = Missed { lsn: Lsn::ZERO, xids: Some((xid - 1, xid)) };
    executor.tells(Announced::Missed(missed)).await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(sent.numbers(), []);
    fixture.execute("commit").await;
    assert_eq!(fixture.finished(request).await.progress.sent, 1);
}

// Any role may write such messages.
#[tokio::test]
async fn requests_do_not_wait_behind_thousands_that_were_never_made() {
    const MADE_UP: u128 = 900;
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=1, Status::Publish).await;
    let sent = Sent::default();
    let pump = Pump::endless(&fixture, &sent, done).await;
    pump.settled.send_replace(Lsn::from_u64(10));
    let executor = fixture.executor(pump.publisher.clone(), saving_often());
    let request = fixture.request(Selection::default(), None).await;
    fixture.finished(request).await;
    let asked = async || -> i64 {
        sleep(Duration::from_millis(1100)).await;
        let sql = "select xact_commit::text from pg_stat_database where datname = current_database()";
        fixture.text(sql).await.parse().expect("a number")
    };
    let before = asked().await;
    for n in 0..MADE_UP {
        executor.announces(id(1000 + n), Some(3), Lsn::from_u64(11)).await;
    }
    let request = fixture.request(Selection::default(), None).await;
    executor.announces(request, None, Lsn::from_u64(10)).await;
    assert_eq!(fixture.finished(request).await.progress.sent, 1);
    assert_eq!(fixture.counts.unknown(), u64::try_from(MADE_UP).expect("a small number"));
    let transactions = asked().await - before;
    assert!(transactions < 600, "{transactions}");
}

// As between the commit record in the log and the moment at which others see the transaction.
#[tokio::test]
async fn a_request_that_cannot_be_seen_yet_is_waited_for() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=1, Status::Publish).await;
    let sent = Sent::default();
    let pump = Pump::endless(&fixture, &sent, done).await;
    let executor = fixture.executor(pump.publisher.clone(), saving_often());
    sleep(Duration::from_millis(100)).await;
    let (slot, request) = (&fixture.database.names.slot, id(42));
    fixture
        .execute(&format!(
            "begin; insert into postrider.replay (id, slot, created_before) values ('{request}', '{slot}', now())"
        ))
        .await;
    let xid = fixture.text("select (pg_current_xact_id()::xid)::text").await.parse().expect("a number");
    executor.announces(request, Some(xid), Lsn::ZERO).await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(sent.numbers(), []);
    fixture.execute("commit").await;
    assert_eq!(fixture.finished(request).await.progress.sent, 1);
    assert_eq!(fixture.counts.unknown(), 0);
}

#[tokio::test]
async fn a_skip_is_asked_of_the_pump_and_only_for_a_head() {
    let fixture = Fixture::set_up().await;
    let names = &fixture.database.names;
    let skip = async |row| request_skip(&fixture.session, names, row).await.expect("it is asked");
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
    let verdict = |number| if number == 1 { Outcome::Done } else { Outcome::NothingHeld };
    let pump = Pump::endless(&fixture, &sent, verdict).await;
    let _executor = fixture.executor(pump.publisher.clone(), saving_often());
    assert_eq!(fixture.finished(first).await.state, ReplayState::Done);
    let found = fixture.finished(second).await;
    assert_eq!(found.state, ReplayState::Failed);
    assert!(found.last_error.expect("a reason").contains("nothing is held back behind row"), "a reason");
    assert_eq!(sent.all(), [(1, Origin::Held), (2, Origin::Held)]);
}

// The life that released the rows behind the head ended before it could note that.
#[tokio::test]
async fn a_skip_that_was_under_way_and_finds_nothing_held_any_more_is_done() {
    let fixture = Fixture::set_up().await;
    let (slot, request) = (&fixture.database.names.slot, id(42));
    fixture
        .execute(&format!(
            "insert into postrider.replay (id, slot, kind, ids, state, rows_total, started_at)
             values ('{request}', '{slot}', 'skip', array['{}'::uuid], 'running', 1, now())",
            id(1)
        ))
        .await;
    let pump = Pump::endless(&fixture, &Sent::default(), |_| Outcome::NothingHeld).await;
    let _executor = fixture.executor(pump.publisher.clone(), saving_often());
    let found = fixture.finished(request).await;
    assert_eq!((found.state, found.progress.passed, found.last_error), (ReplayState::Done, 1, None));
}

#[tokio::test]
async fn what_the_database_refuses_for_good_fails_the_request_and_the_next_one_follows() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=1, Status::Publish).await;
    let sent = Sent::default();
    let pump = Pump::endless(&fixture, &sent, done).await;
    let executor = fixture.executor(pump.publisher.clone(), saving_often());
    sleep(Duration::from_millis(100)).await;
    fixture.execute("alter table outbox rename payload to load").await;
    let request = fixture.request(Selection::default(), None).await;
    executor.announces(request, None, Lsn::ZERO).await;
    let found = fixture.finished(request).await;
    assert_eq!(found.state, ReplayState::Failed);
    assert!(found.last_error.expect("a reason").contains("payload"), "the column is named");
    fixture.execute("alter table outbox rename load to payload").await;
    let next = fixture.request(Selection::default(), None).await;
    executor.announces(next, None, Lsn::ZERO).await;
    assert_eq!(fixture.finished(next).await.progress.sent, 1);
}

#[tokio::test]
async fn rights_to_read_and_update_the_requests_are_enough_for_the_relay() {
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
    let sent = Sent::default();
    let pump = Pump::endless(&fixture, &sent, done).await;
    fixture.database.config.user(&role).password("secret");
    let executor = fixture.executor(pump.publisher.clone(), saving_often());
    assert_eq!(fixture.finished(request).await.progress.sent, 3);
    executor.announces(id(7), Some(3), Lsn::ZERO).await;
}
