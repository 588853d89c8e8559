use std::time::Duration;

use outbox::{Lsn, Status};
use outbox_store::{Cancelled, ReplayState, Selection, cancel_replay};
use reconciler::{Origin, Outcome, ReplayOptions};
use tokio::time::{Instant, sleep, timeout};

use crate::fixture::{DEADLINE, Fixture, id, saving_often};
use crate::pump::{Pump, Sent, done};

#[tokio::test]
async fn rows_go_in_the_order_of_their_time_those_without_one_last_and_bear_the_request() {
    let fixture = Fixture::set_up().await;
    fixture.execute("alter table outbox alter created_at drop not null").await;
    fixture.rows(1..=2500, Status::Publish).await;
    // Ids in another order than times, equal times, the edges of what a time can be, and none at all.
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
    let pump = Pump::endless(&fixture, &sent, done).await;
    let request = fixture.request(Selection::default(), None).await;
    let _executor = fixture.executor(pump.publisher.clone(), saving_often());
    let found = fixture.finished(request).await;
    assert_eq!((found.state, found.rows_total, found.progress.sent), (ReplayState::Done, Some(2499), 2499));
    let expected = fixture
        .text(
            "select string_agg(id::text, ',' order by created_at, id) from outbox
               where created_at is distinct from 'infinity'",
        )
        .await;
    let expected: Vec<(u128, Origin)> = expected
        .split(',')
        .map(|id| (id.parse::<uuid::Uuid>().unwrap().as_u128(), Origin::Request(request)))
        .collect();
    assert_eq!(sent.all(), expected);
    assert_eq!(fixture.counts.sent(), 2499);
}

#[tokio::test]
async fn each_condition_narrows_and_the_limit_takes_the_oldest() {
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
        let pump = Pump::endless(&fixture, &sent, done).await;
        let request = fixture.request(selection.clone(), None).await;
        let executor = fixture
            .executor(pump.publisher.clone(), ReplayOptions { alone: Some(request), ..saving_often() });
        let found = fixture.finished(request).await;
        assert_eq!(sent.numbers(), expected, "{selection:?}");
        assert_eq!(found.rows_total, Some(expected.len() as u64), "{selection:?}");
        drop(executor);
        fixture.execute("update outbox set status = 'FAILED' where status = 'PUBLISH' and id > lpad(to_hex(100), 32, '0')::uuid").await;
    }
}

#[tokio::test]
async fn refused_rows_are_counted_and_passed_ones_too_and_others_go_on() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=20, Status::Publish).await;
    let sent = Sent::default();
    let verdict = |number| match number % 5 {
        0 => Outcome::Refused("too large".to_owned()),
        1 => Outcome::OnItsWay,
        2 => Outcome::InLine,
        _ => Outcome::Done,
    };
    let pump = Pump::endless(&fixture, &sent, verdict).await;
    let request = fixture.request(Selection::default(), None).await;
    let _executor = fixture.executor(pump.publisher.clone(), saving_often());
    let found = fixture.finished(request).await;
    let progress = found.progress;
    assert_eq!((progress.sent, progress.failed, progress.passed), (8, 4, 8));
    assert_eq!(found.state, ReplayState::Done);
}

#[tokio::test]
async fn rows_that_wait_in_line_are_passed_over_and_their_head_is_not() {
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
    let pump = Pump::endless(&fixture, &sent, done).await;
    let request = fixture.request(Selection::default(), None).await;
    let _executor = fixture.executor(pump.publisher.clone(), saving_often());
    let found = fixture.finished(request).await;
    assert_eq!(sent.numbers(), [1, 4, 5]);
    assert_eq!((found.progress.sent, found.progress.passed), (3, 2));
}

#[tokio::test]
async fn a_row_that_says_init_waits_until_the_log_has_gone_past_it_and_is_left_to_the_log_if_that_brings_it()
{
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=2, Status::Publish).await;
    fixture.rows(3..=4, Status::Init).await;
    let sent = Sent::default();
    let pump = Pump::endless(&fixture, &sent, done).await;
    pump.settled.send_replace(Lsn::ZERO);
    let selection = Selection { statuses: vec![Status::Init], ..Selection::default() };
    let request = fixture.request(selection, None).await;
    let _executor = fixture.executor(pump.publisher.clone(), saving_often());
    sleep(Duration::from_millis(300)).await;
    assert_eq!(sent.numbers(), []);
    // The log brings one of them meanwhile.
    fixture.execute("update outbox set status = 'PUBLISH' where id = lpad('3', 32, '0')::uuid").await;
    pump.settled.send_replace(Lsn::from_u64(u64::MAX));
    let found = fixture.finished(request).await;
    assert_eq!(sent.numbers(), [4]);
    assert_eq!((found.progress.sent, found.progress.passed), (1, 1));
}

#[tokio::test]
async fn a_rate_is_kept_and_a_cancelled_replay_stops_with_its_figures() {
    let fixture = Fixture::set_up().await;
    fixture.rows(1..=1000, Status::Publish).await;
    let sent = Sent::default();
    let pump = Pump::endless(&fixture, &sent, done).await;
    let began = Instant::now();
    let request = fixture.request(Selection { rows_max: Some(150), ..Selection::default() }, Some(100)).await;
    let endless = fixture.request(Selection::default(), Some(100)).await;
    let _executor = fixture.executor(pump.publisher.clone(), saving_often());
    fixture.finished(request).await;
    assert!(began.elapsed() > Duration::from_millis(1300), "{:?}", began.elapsed());
    timeout(DEADLINE, async {
        while fixture.of(endless).await.progress.sent < 20 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it goes on");
    let cancelled = async |id| {
        cancel_replay(&fixture.session, &fixture.database.names.slot, id).await.expect("it is asked")
    };
    assert_eq!(cancelled(endless).await, Cancelled::Now);
    assert_eq!(cancelled(request).await, Cancelled::Finished(ReplayState::Done));
    assert_eq!(cancelled(id(1)).await, Cancelled::Unknown);
    assert_eq!(cancelled(endless).await, Cancelled::Finished(ReplayState::Cancelled));
    sleep(Duration::from_millis(300)).await;
    let (stopped, found) = (sent.numbers().len() as u64, fixture.of(endless).await);
    assert!(stopped < 260, "{stopped}");
    assert_eq!((found.state, 150 + found.progress.sent), (ReplayState::Cancelled, stopped));
    // The next one is not held up by it.
    let next = fixture.request(Selection { ids: vec![id(5)], ..Selection::default() }, None).await;
    drop(_executor);
    let _executor = fixture.executor(pump.publisher.clone(), saving_often());
    assert_eq!(fixture.finished(next).await.progress.sent, 1);
    assert_eq!(fixture.of(endless).await.state, ReplayState::Cancelled);
}
