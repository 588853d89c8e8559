//! What every change makes of a row, whatever the row says.

use std::time::Duration;

use outbox::OrderingKey;
use outbox_store::{
    Aside, Asides, Changed, Completed, Happened, RowChange, RowChanges, RowWriter, Why, release_head,
};
use uuid::Uuid;

use crate::fixture::Fixture;
use crate::row_writer::writer;

const STATUSES: [&str; 4] = ["INIT", "PUBLISH", "COMPLETE", "FAILED"];
const CONSUMED: Happened = Happened::Consumed { by_request: false };
const BY_REQUEST: Happened = Happened::Consumed { by_request: true };

/// How a row stands before: what has a place was sent once, in 2020, and what has FAILED was never acknowledged.
async fn insert(fixture: &Fixture, id: u128, status: &str) {
    let id = Uuid::from_u128(id);
    let more = match status {
        "PUBLISH" => "'old', 0, 5, 1, '2020-01-01', null, '2020-01-01', null",
        "COMPLETE" => "'old', 0, 5, 1, '2020-01-01', '2020-01-01', '2020-01-01', null",
        "FAILED" => "null, null, null, 3, null, null, '2020-01-01', 'too large'",
        _ => "null, null, null, 0, null, null, null, null",
    };
    fixture
        .execute(&format!(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type, status, kafka_topic, kafka_partition,
                 kafka_offset, attempts, published_at, completed_at, last_attempt_at, last_error)
             values ('{id}', 'a', 'b', 'c', '{status}', {more})"
        ))
        .await;
}

/// Status, place, attempts, when published, completed and last tried, and the last error.
async fn says(fixture: &Fixture, id: u128) -> String {
    let when = |column: &str| {
        format!("case when {column} is null then '-' when {column} < '2021-01-01' then 'old' else 'now' end")
    };
    let sql = format!(
        "select concat_ws(' ', status, coalesce(kafka_topic || '/' || kafka_partition || '/' || kafka_offset, '-'),
             attempts, {}, {}, {}, coalesce(last_error, '-')) from outbox where id = '{}'",
        when("published_at"),
        when("completed_at"),
        when("last_attempt_at"),
        Uuid::from_u128(id),
    );
    fixture.text(&sql).await
}

fn change(id: u128, what: Happened, offset: i64) -> RowChange {
    RowChange {
        id: Uuid::from_u128(id),
        xid: None,
        topic: "new".into(),
        partition: 0,
        offset: Some(offset),
        what,
    }
}

fn lane() -> OrderingKey {
    OrderingKey { topic: "new".to_owned(), key: "b".into() }
}

fn failed(id: u128, head_of: Option<OrderingKey>) -> Aside {
    let why = Why::Failed { reason: "refused".to_owned(), sent: true, head_of };
    Aside { id: Uuid::from_u128(id), xid: None, why, in_line: false }
}

fn held(id: u128, behind: u128) -> Aside {
    let why = Why::Held { lane: lane(), behind: Uuid::from_u128(behind) };
    Aside { id: Uuid::from_u128(id), xid: None, why, in_line: false }
}

async fn write(writer: &RowWriter, changes: impl IntoIterator<Item = RowChange>) -> Changed {
    writer.write(&RowChanges::new(changes), false).await.expect("it is written")
}

async fn set_aside(writer: &RowWriter, asides: impl IntoIterator<Item = Aside>) -> Vec<u32> {
    writer.set_aside(&Asides::new(asides), false).await.expect("it is written")
}

/// What a change makes of rows that say INIT, PUBLISH, COMPLETE, FAILED.
async fn makes(change_of: impl Fn(u128) -> Vec<RowChange>, expected: [&str; 4]) {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    for (id, status) in (1..).zip(STATUSES) {
        insert(&fixture, id, status).await;
    }
    write(&writer, (1..=4).flat_map(change_of)).await;
    for ((id, status), expected) in (1..).zip(STATUSES).zip(expected) {
        assert_eq!(says(&fixture, id).await, expected, "from {status}");
    }
}

#[tokio::test]
async fn published_makes_init_publish_and_nothing_of_the_others() {
    makes(
        |id| vec![change(id, Happened::Published, 9)],
        [
            "PUBLISH new/0/9 1 now - now -",
            "PUBLISH old/0/5 1 old - old -",
            "COMPLETE old/0/5 1 old old old -",
            "FAILED - 3 - - old too large",
        ],
    )
    .await;
}

#[tokio::test]
async fn resent_writes_the_new_place_and_never_goes_back() {
    makes(
        |id| vec![change(id, Happened::Resent, 9)],
        [
            "PUBLISH new/0/9 1 now - now -",
            "PUBLISH new/0/9 2 old - now -",
            "COMPLETE new/0/9 2 old old now -",
            "PUBLISH new/0/9 4 now - now -",
        ],
    )
    .await;
}

#[tokio::test]
async fn consumed_completes_what_was_sent_and_fills_in_what_the_row_does_not_know() {
    makes(
        |id| vec![change(id, CONSUMED, 9)],
        [
            "COMPLETE new/0/9 1 now now now -",
            "COMPLETE old/0/5 1 old now old -",
            "COMPLETE old/0/5 1 old old old -",
            "FAILED - 3 - - old too large",
        ],
    )
    .await;
}

#[tokio::test]
async fn what_a_person_had_sent_again_completes_even_a_row_that_failed() {
    makes(
        |id| vec![change(id, BY_REQUEST, 9)],
        [
            "COMPLETE new/0/9 1 now now now -",
            "COMPLETE old/0/5 1 old now old -",
            "COMPLETE old/0/5 1 old old old -",
            "COMPLETE new/0/9 4 now now now -",
        ],
    )
    .await;
}

#[tokio::test]
async fn published_and_consumed_in_one_batch_are_one_update() {
    let both = |first: Happened, then: Happened| move |id| vec![change(id, first, 9), change(id, then, 9)];
    let expected = [
        "COMPLETE new/0/9 1 now now now -",
        "COMPLETE old/0/5 1 old now old -",
        "COMPLETE old/0/5 1 old old old -",
        "FAILED - 3 - - old too large",
    ];
    makes(both(Happened::Published, CONSUMED), expected).await;
    makes(both(CONSUMED, Happened::Published), expected).await;
}

#[tokio::test]
async fn resent_and_consumed_in_one_batch_are_one_update() {
    makes(
        |id| vec![change(id, Happened::Resent, 9), change(id, CONSUMED, 9)],
        [
            "COMPLETE new/0/9 1 now now now -",
            "COMPLETE new/0/9 2 old now now -",
            "COMPLETE new/0/9 2 old old now -",
            "COMPLETE new/0/9 4 now now now -",
        ],
    )
    .await;
}

#[tokio::test]
async fn failed_and_held_leave_what_is_complete() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    for (id, status) in (1..).zip(STATUSES.iter().chain(&STATUSES)) {
        insert(&fixture, id, status).await;
    }
    set_aside(&writer, (1..=4).map(|id| failed(id, None)).chain((5..=8).map(|id| held(id, 99)))).await;
    let behind = format!(
        "held behind row {id} of the same key, which could not be sent: it follows once that row is sent \
         (postrider replay --id {id}) or skipped (postrider replay --skip {id})",
        id = Uuid::from_u128(99)
    );
    for (id, expected) in (1..).zip([
        "FAILED - 1 - - now refused",
        "FAILED old/0/5 2 old - now refused",
        "COMPLETE old/0/5 1 old old old refused",
        "FAILED - 4 - - now refused",
        &format!("INIT - 0 - - - {behind}"),
        "PUBLISH old/0/5 1 old - old -",
        "COMPLETE old/0/5 1 old old old -",
        "FAILED - 3 - - old too large",
    ]) {
        assert_eq!(says(&fixture, id).await, expected, "row {id}");
    }
}

/// A statement whose connection was lost can be carried out late, after the row was published all the same.
#[tokio::test]
async fn a_row_of_the_log_that_was_published_meanwhile_does_not_fail() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    for (id, status) in (1..).zip(&STATUSES) {
        insert(&fixture, id, status).await;
    }
    let of_the_log = |id| Aside { xid: Some(3), ..failed(id, None) };
    set_aside(&writer, (1..=4).map(of_the_log)).await;
    for (id, expected) in (1..).zip([
        "FAILED - 1 - - now refused",
        "PUBLISH old/0/5 1 old - old -",
        "COMPLETE old/0/5 1 old old old -",
        "FAILED - 4 - - now refused",
    ]) {
        assert_eq!(says(&fixture, id).await, expected, "row {id}");
    }
}

/// Any two changes come to the same whether they are written together or one after the other.
#[tokio::test]
async fn to_write_two_changes_together_is_to_write_one_after_the_other() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    let whats = [Happened::Published, Happened::Resent, CONSUMED, BY_REQUEST];
    let mut id = 0;
    let mut together = Vec::new();
    let mut apart = Vec::new();
    let mut of = Vec::new();
    for status in STATUSES {
        for first in whats {
            for then in whats {
                for offset in [9, 10] {
                    // A record is acknowledged once. Of two of a live row the newest counts when their reports come
                    // together, and the first when they do not.
                    let is_sent = |what| matches!(what, Happened::Published | Happened::Resent);
                    let is_no_case = match (is_sent(first), is_sent(then)) {
                        (true, true) => offset == 9 || then == Happened::Published,
                        (false, true) => then == Happened::Published && offset == 10,
                        (_, false) => offset == 10,
                    };
                    if is_no_case {
                        continue;
                    }
                    for batch in [&mut together, &mut apart] {
                        id += 1;
                        insert(&fixture, id, status).await;
                        batch.push((change(id, first, 9), change(id, then, offset)));
                    }
                    of.push((id, format!("{status}, {first:?} at 9, {then:?} at {offset}")));
                }
            }
        }
    }
    write(&writer, together.into_iter().flat_map(|(first, then)| [first, then])).await;
    let (first, then): (Vec<_>, Vec<_>) = apart.into_iter().unzip();
    write(&writer, first).await;
    write(&writer, then).await;
    assert!(of.len() > 60, "{}", of.len());
    for (id, of) in of {
        let (together, apart) = (says(&fixture, id - 1).await, says(&fixture, id).await);
        // A record of which the row does not know counts as an attempt, unless a newer one is told of with it.
        // A receipt that came before the delivery report of a row that says FAILED changes nothing by itself: it is
        // kept, to be written with that.
        if of == "FAILED, Consumed { by_request: false } at 9, Resent at 9" {
            assert_eq!(together, "COMPLETE new/0/9 4 now now now -");
            continue;
        }
        let is_forgotten = of.ends_with("Resent at 10") && !of.contains("Resent at 9");
        if is_forgotten {
            assert_eq!(without_attempts(&together), without_attempts(&apart), "{of}");
        } else {
            assert_eq!(together, apart, "{of}");
        }
    }
}

fn without_attempts(says: &str) -> Vec<&str> {
    says.split(' ').enumerate().filter(|(index, _)| *index != 2).map(|(_, word)| word).collect()
}

#[tokio::test]
async fn what_a_batch_changed_is_counted() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    for (id, status) in (1..).zip(["INIT", "INIT", "INIT", "PUBLISH", "PUBLISH", "COMPLETE", "FAILED"]) {
        insert(&fixture, id, status).await;
    }
    fixture
        .execute("update outbox set last_attempt_at = '2020-01-01 00:00:25+00' where status = 'PUBLISH'")
        .await;
    let changed = write(
        &writer,
        [
            change(1, Happened::Published, 1),
            change(2, Happened::Published, 2),
            change(2, CONSUMED, 2),
            change(3, CONSUMED, 3),
            change(4, CONSUMED, 4),
            change(5, Happened::Resent, 5),
            change(6, CONSUMED, 6),
            change(7, BY_REQUEST, 7),
            change(8, CONSUMED, 8),
        ],
    )
    .await;
    assert_eq!(changed.published, 2, "rows 1 and 5");
    let completed = [2, 3, 4, 7].map(Uuid::from_u128).into();
    assert_eq!(changed.completed, Completed::Only(completed));
    let first_of_2020 = 1_577_836_800;
    assert_eq!(changed.completed_by_bucket, [(first_of_2020 / 10 + 2, 1)], "only row 4 said PUBLISH");
    let last = "select (extract(epoch from last_attempt_at) * 1000000)::int8::text from outbox where id = ";
    let at = fixture.text(&format!("{last}'{}'", Uuid::from_u128(1))).await;
    assert_eq!(changed.at_us.to_string(), at);
    let all = write(&writer, [change(1, CONSUMED, 1)]).await;
    assert_eq!(all.completed, Completed::All);
    assert_eq!(all.completed_by_bucket, [(changed.at_us.div_euclid(10_000_000), 1)]);
}

#[tokio::test]
async fn times_of_less_precision_and_without_a_zone_are_counted_alike() {
    let fixture = Fixture::set_up().await;
    let zone = format!("alter database {} set timezone = 'Asia/Kathmandu'", fixture.database);
    fixture.execute(&zone).await;
    fixture
        .execute(
            "alter table outbox alter last_attempt_at type timestamp(0), alter completed_at type timestamp(0),
                 alter last_error type varchar(10)",
        )
        .await;
    let writer = writer(&fixture).await;
    for id in 1..=3 {
        insert(&fixture, id, "INIT").await;
    }
    let first = write(&writer, [change(1, Happened::Published, 1), change(2, CONSUMED, 2)]).await;
    assert_eq!((first.published, &first.completed), (1, &Completed::All));
    assert_eq!(first.completed_by_bucket, []);
    let now: i64 =
        fixture.text("select extract(epoch from now())::int8::text").await.parse().expect("a number");
    assert!((first.at_us / 1_000_000 - now).abs() < 60, "{} and {now}", first.at_us);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let second = write(&writer, [change(1, CONSUMED, 1)]).await;
    assert_eq!(second.completed, Completed::All);
    assert_eq!(second.completed_by_bucket, [(first.at_us.div_euclid(10_000_000), 1)]);
    let long = Why::Failed { reason: "longer than the column".to_owned(), sent: false, head_of: None };
    set_aside(&writer, [Aside { id: Uuid::from_u128(3), xid: None, why: long, in_line: false }]).await;
    assert_eq!(says(&fixture, 3).await, "FAILED - 0 - - now longer tha");
}

#[tokio::test]
async fn a_batch_whose_outcome_was_not_heard_of_is_written_again_without_doing_it_twice() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    for id in 1..=3 {
        insert(&fixture, id, "INIT").await;
    }
    let batch = RowChanges::new([
        change(1, Happened::Published, 1),
        change(2, Happened::Resent, 2),
        change(3, CONSUMED, 3),
    ]);
    let first = writer.write(&batch, false).await.expect("it is written");
    assert_eq!((first.published, first.completed), (2, Completed::All));
    fixture.execute("update outbox set last_attempt_at = '2020-01-01', published_at = '2020-01-01'").await;
    let again = writer.write(&batch, true).await.expect("it is written");
    assert_eq!(again.published, 2, "they are counted, for nobody heard of it");
    assert_eq!(says(&fixture, 1).await, "PUBLISH new/0/1 1 old - now -");
    assert_eq!(says(&fixture, 2).await, "PUBLISH new/0/2 1 old - now -");
    assert_eq!(says(&fixture, 3).await, "COMPLETE new/0/3 1 old now old -");
    insert(&fixture, 5, "INIT").await;
    let asides = Asides::new([failed(5, None)]);
    writer.set_aside(&asides, false).await.expect("it is written");
    writer.set_aside(&asides, true).await.expect("it is written");
    assert_eq!(says(&fixture, 5).await, "FAILED - 1 - - now refused");
}

// As where the acknowledgement was lost: the broker has the record and does not say where.
#[tokio::test]
async fn a_record_whose_place_is_not_known_has_none_until_a_consumer_sees_it() {
    let nowhere = |id, what| RowChange { offset: None, ..change(id, what, 0) };
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    for id in 1..=2 {
        insert(&fixture, id, "INIT").await;
    }
    insert(&fixture, 3, "PUBLISH").await;
    insert(&fixture, 4, "COMPLETE").await;
    let sent = [
        nowhere(1, Happened::Published),
        nowhere(2, Happened::Published),
        nowhere(3, Happened::Resent),
        nowhere(4, Happened::Resent),
    ];
    assert_eq!(write(&writer, sent.clone()).await.published, 3);
    for (id, expected) in [
        (1, "PUBLISH - 1 now - now -"),
        (2, "PUBLISH - 1 now - now -"),
        (3, "PUBLISH - 2 old - now -"),
        (4, "COMPLETE - 2 old old now -"),
    ] {
        assert_eq!(says(&fixture, id).await, expected);
    }
    assert_eq!(fixture.text("select count(*)::text from postrider.progress").await, "0");
    // Nobody heard of what became of the batch; once more it changes nothing, and counts what says PUBLISH.
    let again = writer.write(&RowChanges::new(sent[..2].to_vec()), true).await.expect("it is written");
    assert_eq!((again.published, says(&fixture, 1).await), (2, "PUBLISH - 1 now - now -".to_owned()));
    write(&writer, (1..=3).map(|id| change(id, CONSUMED, 7))).await;
    for (id, expected) in [
        (1, "COMPLETE new/0/7 1 now now now -"),
        (2, "COMPLETE new/0/7 1 now now now -"),
        (3, "COMPLETE new/0/7 2 old now now -"),
    ] {
        assert_eq!(says(&fixture, id).await, expected);
    }
}

#[tokio::test]
async fn a_negative_offset_is_no_place() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    insert(&fixture, 1, "PUBLISH").await;
    fixture.execute("update outbox set kafka_topic = 'new', kafka_offset = -1001").await;
    write(&writer, [change(1, CONSUMED, 7)]).await;
    assert_eq!(says(&fixture, 1).await, "COMPLETE new/0/7 1 old now old -");
}

#[tokio::test]
async fn rows_that_cannot_be_seen_yet_are_reported_whatever_is_to_be_written() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    fixture.execute("begin").await;
    for id in 1..=4 {
        insert(&fixture, id, "INIT").await;
    }
    let xid: u32 = fixture.text("select (pg_current_xact_id()::xid)::text").await.parse().expect("a number");
    let hidden = |change: RowChange| RowChange { xid: Some(xid), ..change };
    let changes = [
        hidden(change(1, Happened::Published, 1)),
        change(1, CONSUMED, 1),
        hidden(change(2, Happened::Resent, 2)),
    ];
    let asides = [failed(3, Some(lane())), held(4, 3)].map(|aside| Aside { xid: Some(xid), ..aside });
    let first = write(&writer, changes.clone()).await;
    assert_eq!((first.published, first.completed), (0, Completed::Only([].into())));
    assert_eq!(first.unseen_xids, [xid]);
    assert_eq!(set_aside(&writer, asides.clone()).await, [xid]);
    fixture.execute("commit").await;
    let second = write(&writer, changes).await;
    assert_eq!((second.published, second.completed), (1, Completed::All));
    assert_eq!(second.unseen_xids, []);
    assert_eq!(set_aside(&writer, asides).await, []);
    for (id, expected) in [
        (1, "COMPLETE new/0/1 1 now now now -"),
        (2, "PUBLISH new/0/2 1 now - now -"),
        (3, "FAILED - 1 - - now refused"),
    ] {
        assert_eq!(says(&fixture, id).await, expected);
    }
    assert!(says(&fixture, 4).await.starts_with("INIT - 0 - - - held behind row"));
    let lanes =
        "select string_agg(right(id::text, 1) || case when head then ' head' else '' end, ', ' order by seq)
                 from postrider.held";
    assert_eq!(fixture.text(lanes).await, "3 head, 4");
}

async fn line(fixture: &Fixture) -> String {
    let sql = "select coalesce(string_agg(right(id::text, 1) || case when head then ' head' else '' end, ', '
                   order by seq), '') from postrider.held";
    fixture.text(sql).await
}

// As `replay --skip` does while the write-back still waits for the rows to be seen.
#[tokio::test]
async fn what_has_left_its_line_is_not_put_back_when_its_row_is_seen_at_last() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    fixture.execute("begin").await;
    for id in 1..=2 {
        insert(&fixture, id, "INIT").await;
    }
    let xid: u32 = fixture.text("select (pg_current_xact_id()::xid)::text").await.parse().expect("a number");
    let asides = [failed(1, Some(lane())), held(2, 1)].map(|aside| Aside { xid: Some(xid), ..aside });
    assert_eq!(set_aside(&writer, asides.clone()).await, [xid]);
    fixture.execute("commit").await;
    assert_eq!(line(&fixture).await, "1 head, 2");
    let head = Uuid::from_u128(1);
    release_head(&fixture.session, &fixture.names, head).await.expect("it is asked").expect("it is a head");
    let again = asides.map(|aside| Aside { in_line: true, ..aside });
    assert_eq!(set_aside(&writer, again).await, []);
    assert_eq!(says(&fixture, 1).await, "FAILED - 1 - - now refused");
    assert_eq!(line(&fixture).await, "2");
}

// As `replay --skip` does after the connection was lost on which the batch had been written.
#[tokio::test]
async fn what_has_left_its_line_is_not_put_back_by_a_batch_of_which_nobody_heard() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    for id in 1..=2 {
        insert(&fixture, id, "INIT").await;
    }
    let asides = [failed(1, Some(lane())), held(2, 1)].map(|aside| Aside { xid: Some(3), ..aside });
    let asides = Asides::new(asides);
    // It was not written; then it was.
    writer.set_aside(&asides, true).await.expect("it is written");
    assert_eq!(line(&fixture).await, "1 head, 2");
    fixture.execute("delete from postrider.held").await;
    writer.set_aside(&asides, true).await.expect("it is written");
    assert_eq!(line(&fixture).await, "");
}

#[tokio::test]
async fn a_status_of_a_users_own_type_takes_all_of_it() {
    let fixture = Fixture::set_up().await;
    fixture
        .execute(
            "create type state as enum ('INIT', 'PUBLISH', 'COMPLETE', 'FAILED');
             alter table outbox alter status drop default, alter status type state using status::state,
                 alter attempts type smallint, alter kafka_partition type bigint",
        )
        .await;
    let writer = writer(&fixture).await;
    for (id, status) in (1..).zip(STATUSES) {
        insert(&fixture, id, status).await;
    }
    write(&writer, (1..=4).map(|id| change(id, Happened::Resent, 9))).await;
    write(&writer, (1..=4).map(|id| change(id, CONSUMED, 9))).await;
    set_aside(&writer, [failed(1, None)]).await;
    assert_eq!(says(&fixture, 1).await, "COMPLETE new/0/9 1 now now now refused");
    assert_eq!(says(&fixture, 4).await, "COMPLETE new/0/9 4 now now now -");
}

/// Two writers at a time, one with delivery reports and one with receipts, in any order, in batches of any size.
#[tokio::test]
async fn complete_and_publish_race_ten_thousand_times_and_no_row_goes_back() {
    const ROWS: u128 = 10_000;
    let fixture = Fixture::set_up().await;
    fixture
        .execute(&format!(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type)
             select lpad(to_hex(n), 32, '0')::uuid, 'a', 'b', 'c' from generate_series(1, {ROWS}) as n"
        ))
        .await;
    let (reports, receipts) = (writer(&fixture).await, writer(&fixture).await);
    let write_all = async |writer: &RowWriter, what: Happened, step: u128| {
        // A step that has no factor in common with the number of rows visits each once.
        let mut ids = (0..ROWS).map(|n| n * step % ROWS + 1).peekable();
        let mut size = 1;
        while ids.peek().is_some() {
            size = size * 7 % 101;
            let batch: Vec<_> = ids.by_ref().take(size).map(|id| change(id, what, id as i64)).collect();
            write(writer, batch).await;
        }
    };
    tokio::join!(write_all(&reports, Happened::Published, 3), write_all(&receipts, CONSUMED, 7));
    let right = "select count(*)::text from outbox
                 where status = 'COMPLETE' and attempts = 1 and kafka_topic = 'new' and kafka_partition = 0
                   and lpad(to_hex(kafka_offset), 32, '0')::uuid = id and published_at is not null
                   and completed_at is not null and last_error is null";
    assert_eq!(fixture.text(right).await, ROWS.to_string());
}
