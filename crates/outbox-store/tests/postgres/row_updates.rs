//! What every update does to a row in every state.

use std::time::Duration;

use outbox::{OrderingKey, RecordPosition};
use outbox_store::{
    BatchOutcome, Completed, RowUpdate, RowUpdateBatch, RowUpdateKind, RowWriter, release_head,
};
use uuid::Uuid;

use crate::fixture::Fixture;
use crate::row_writer::writer;

const STATUSES: [&str; 4] = ["INIT", "PUBLISH", "COMPLETE", "FAILED"];

/// What happens to the record of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Published,
    Resent,
    Consumed,
    ConsumedByRequest,
}
use What::{Consumed, ConsumedByRequest, Published, Resent};

/// A row with a position was sent once, in 2020; a FAILED row was never acknowledged.
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

/// Status, position, attempts, published_at, completed_at, last_attempt_at and last_error.
async fn row(fixture: &Fixture, id: u128) -> String {
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

fn update(id: u128, what: What, offset: i64) -> RowUpdate {
    let at = RecordPosition { topic: "new".into(), partition: 0, offset };
    let kind = match what {
        Published => RowUpdateKind::Published(at),
        Resent => RowUpdateKind::Resent(at),
        Consumed => RowUpdateKind::Consumed { at, by_request: false },
        ConsumedByRequest => RowUpdateKind::Consumed { at, by_request: true },
    };
    RowUpdate::new(Uuid::from_u128(id), kind)
}

fn key() -> OrderingKey {
    OrderingKey { topic: "new".to_owned(), key: "b".into() }
}

fn failed(id: u128, head_of: Option<OrderingKey>) -> RowUpdate {
    let kind = RowUpdateKind::Failed { reason: "refused".to_owned(), sent: true, head_of };
    RowUpdate::new(Uuid::from_u128(id), kind)
}

fn held(id: u128, head: u128) -> RowUpdate {
    let kind = RowUpdateKind::Held { key: Some(key()), head: Uuid::from_u128(head) };
    RowUpdate::new(Uuid::from_u128(id), kind)
}

async fn write(writer: &RowWriter, updates: impl IntoIterator<Item = RowUpdate>) -> BatchOutcome {
    writer.write(&RowUpdateBatch::new(updates), false).await.expect("it is written")
}

/// Checks what updates do to rows that are INIT, PUBLISH, COMPLETE and FAILED.
async fn assert_rows_after(updates_of: impl Fn(u128) -> Vec<RowUpdate>, expected: [&str; 4]) {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    for (id, status) in (1..).zip(STATUSES) {
        insert(&fixture, id, status).await;
    }
    write(&writer, (1..=4).flat_map(updates_of)).await;
    for ((id, status), expected) in (1..).zip(STATUSES).zip(expected) {
        assert_eq!(row(&fixture, id).await, expected, "from {status}");
    }
}

#[tokio::test]
async fn published_changes_init_only() {
    assert_rows_after(
        |id| vec![update(id, Published, 9)],
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
async fn resent_writes_the_new_position_and_keeps_complete() {
    assert_rows_after(
        |id| vec![update(id, Resent, 9)],
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
async fn consumed_completes_sent_rows_and_fills_in_the_position() {
    assert_rows_after(
        |id| vec![update(id, Consumed, 9)],
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
async fn consumed_by_request_completes_failed_rows() {
    assert_rows_after(
        |id| vec![update(id, ConsumedByRequest, 9)],
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
    let both = |first: What, then: What| move |id| vec![update(id, first, 9), update(id, then, 9)];
    let expected = [
        "COMPLETE new/0/9 1 now now now -",
        "COMPLETE old/0/5 1 old now old -",
        "COMPLETE old/0/5 1 old old old -",
        "FAILED - 3 - - old too large",
    ];
    assert_rows_after(both(Published, Consumed), expected).await;
    assert_rows_after(both(Consumed, Published), expected).await;
}

#[tokio::test]
async fn resent_and_consumed_in_one_batch_are_one_update() {
    assert_rows_after(
        |id| vec![update(id, Resent, 9), update(id, Consumed, 9)],
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
async fn failed_and_held_keep_complete_rows() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    for (id, status) in (1..).zip(STATUSES.iter().chain(&STATUSES)) {
        insert(&fixture, id, status).await;
    }
    write(&writer, (1..=4).map(|id| failed(id, None)).chain((5..=8).map(|id| held(id, 99)))).await;
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
        assert_eq!(row(&fixture, id).await, expected, "row {id}");
    }
}

/// A statement whose connection was lost may be executed late, after the row was published.
#[tokio::test]
async fn failed_keeps_wal_rows_that_are_published() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    for (id, status) in (1..).zip(&STATUSES) {
        insert(&fixture, id, status).await;
    }
    let from_wal = |id| RowUpdate { xid: Some(3), ..failed(id, None) };
    write(&writer, (1..=4).map(from_wal)).await;
    for (id, expected) in (1..).zip([
        "FAILED - 1 - - now refused",
        "PUBLISH old/0/5 1 old - old -",
        "COMPLETE old/0/5 1 old old old -",
        "FAILED - 4 - - now refused",
    ]) {
        assert_eq!(row(&fixture, id).await, expected, "row {id}");
    }
}

/// Two updates have the same effect in one batch as in two.
#[tokio::test]
async fn two_updates_in_one_batch_equal_two_batches() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    let whats = [Published, Resent, Consumed, ConsumedByRequest];
    let mut id = 0;
    let mut together = Vec::new();
    let mut apart = Vec::new();
    let mut of = Vec::new();
    for status in STATUSES {
        for first in whats {
            for then in whats {
                for offset in [9, 10] {
                    // A record is acknowledged once. Of two records published from the WAL the newest counts if their
                    // reports share a batch, and the first if they do not.
                    let is_sent = |what| matches!(what, Published | Resent);
                    let is_no_case = match (is_sent(first), is_sent(then)) {
                        (true, true) => offset == 9 || then == Published,
                        (false, true) => then == Published && offset == 10,
                        (_, false) => offset == 10,
                    };
                    if is_no_case {
                        continue;
                    }
                    for batch in [&mut together, &mut apart] {
                        id += 1;
                        insert(&fixture, id, status).await;
                        batch.push((update(id, first, 9), update(id, then, offset)));
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
        let (together, apart) = (row(&fixture, id - 1).await, row(&fixture, id).await);
        // A record whose position is not on the row counts as an attempt, unless a newer one is in the same batch.
        // A receipt that precedes the delivery report of a FAILED row changes nothing by itself: it is kept and
        // written with the report.
        if of == "FAILED, Consumed at 9, Resent at 9" {
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

fn without_attempts(row: &str) -> Vec<&str> {
    row.split(' ').enumerate().filter(|(index, _)| *index != 2).map(|(_, word)| word).collect()
}

#[tokio::test]
async fn batch_outcome_counts_changed_rows() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    for (id, status) in (1..).zip(["INIT", "INIT", "INIT", "PUBLISH", "PUBLISH", "COMPLETE", "FAILED"]) {
        insert(&fixture, id, status).await;
    }
    fixture
        .execute("update outbox set last_attempt_at = '2020-01-01 00:00:25+00' where status = 'PUBLISH'")
        .await;
    let outcome = write(
        &writer,
        [
            update(1, Published, 1),
            update(2, Published, 2),
            update(2, Consumed, 2),
            update(3, Consumed, 3),
            update(4, Consumed, 4),
            update(5, Resent, 5),
            update(6, Consumed, 6),
            update(7, ConsumedByRequest, 7),
            update(8, Consumed, 8),
        ],
    )
    .await;
    assert_eq!(outcome.published, 2, "rows 1 and 5");
    let completed = [2, 3, 4, 7].map(Uuid::from_u128).into();
    assert_eq!(outcome.completed, Completed::Only(completed));
    let first_of_2020 = 1_577_836_800;
    assert_eq!(outcome.completed_by_bucket, [(first_of_2020 / 10 + 2, 1)], "only row 4 was PUBLISH");
    let last = "select (extract(epoch from last_attempt_at) * 1000000)::int8::text from outbox where id = ";
    let at = fixture.text(&format!("{last}'{}'", Uuid::from_u128(1))).await;
    assert_eq!(outcome.at_us.to_string(), at);
    let all = write(&writer, [update(1, Consumed, 1)]).await;
    assert_eq!(all.completed, Completed::All);
    assert_eq!(all.completed_by_bucket, [(outcome.at_us.div_euclid(10_000_000), 1)]);
}

#[tokio::test]
async fn batch_outcome_uses_the_precision_and_type_of_the_time_columns() {
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
    let first = write(&writer, [update(1, Published, 1), update(2, Consumed, 2)]).await;
    assert_eq!((first.published, &first.completed), (1, &Completed::All));
    assert_eq!(first.completed_by_bucket, []);
    let now: i64 =
        fixture.text("select extract(epoch from now())::int8::text").await.parse().expect("a number");
    assert!((first.at_us / 1_000_000 - now).abs() < 60, "{} and {now}", first.at_us);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let second = write(&writer, [update(1, Consumed, 1)]).await;
    assert_eq!(second.completed, Completed::All);
    assert_eq!(second.completed_by_bucket, [(first.at_us.div_euclid(10_000_000), 1)]);
    let reason = "longer than the column".to_owned();
    let long = RowUpdateKind::Failed { reason, sent: false, head_of: None };
    write(&writer, [RowUpdate::new(Uuid::from_u128(3), long)]).await;
    assert_eq!(row(&fixture, 3).await, "FAILED - 0 - - now longer tha");
}

#[tokio::test]
async fn in_doubt_batch_changes_nothing_twice() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    for id in 1..=3 {
        insert(&fixture, id, "INIT").await;
    }
    let batch = RowUpdateBatch::new([update(1, Published, 1), update(2, Resent, 2), update(3, Consumed, 3)]);
    let first = writer.write(&batch, false).await.expect("it is written");
    assert_eq!((first.published, first.completed), (2, Completed::All));
    fixture.execute("update outbox set last_attempt_at = '2020-01-01', published_at = '2020-01-01'").await;
    let again = writer.write(&batch, true).await.expect("it is written");
    assert_eq!(again.published, 2, "counted again, because the first outcome is unknown");
    assert_eq!(row(&fixture, 1).await, "PUBLISH new/0/1 1 old - now -");
    assert_eq!(row(&fixture, 2).await, "PUBLISH new/0/2 1 old - now -");
    assert_eq!(row(&fixture, 3).await, "COMPLETE new/0/3 1 old now old -");
    insert(&fixture, 5, "INIT").await;
    let updates = RowUpdateBatch::new([failed(5, None)]);
    writer.write(&updates, false).await.expect("it is written");
    writer.write(&updates, true).await.expect("it is written");
    assert_eq!(row(&fixture, 5).await, "FAILED - 1 - - now refused");
}

// As if the first acknowledgement was lost: the broker acknowledges the duplicate without its offset.
#[tokio::test]
async fn unknown_offset_is_filled_in_by_a_receipt() {
    let without_offset = |id, what| update(id, what, -1001);
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    for id in 1..=2 {
        insert(&fixture, id, "INIT").await;
    }
    insert(&fixture, 3, "PUBLISH").await;
    insert(&fixture, 4, "COMPLETE").await;
    let sent = [
        without_offset(1, Published),
        without_offset(2, Published),
        without_offset(3, Resent),
        without_offset(4, Resent),
    ];
    assert_eq!(write(&writer, sent.clone()).await.published, 3);
    for (id, expected) in [
        (1, "PUBLISH - 1 now - now -"),
        (2, "PUBLISH - 1 now - now -"),
        (3, "PUBLISH - 2 old - now -"),
        (4, "COMPLETE - 2 old old now -"),
    ] {
        assert_eq!(row(&fixture, id).await, expected);
    }
    assert_eq!(fixture.text("select count(*)::text from postrider.progress").await, "0");
    // In doubt, the batch changes nothing and counts the rows that are PUBLISH.
    let again = writer.write(&RowUpdateBatch::new(sent[..2].to_vec()), true).await.expect("it is written");
    assert_eq!((again.published, row(&fixture, 1).await), (2, "PUBLISH - 1 now - now -".to_owned()));
    write(&writer, (1..=3).map(|id| update(id, Consumed, 7))).await;
    for (id, expected) in [
        (1, "COMPLETE new/0/7 1 now now now -"),
        (2, "COMPLETE new/0/7 1 now now now -"),
        (3, "COMPLETE new/0/7 2 old now now -"),
    ] {
        assert_eq!(row(&fixture, id).await, expected);
    }
}

#[tokio::test]
async fn negative_offset_counts_as_unknown() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    insert(&fixture, 1, "PUBLISH").await;
    fixture.execute("update outbox set kafka_topic = 'new', kafka_offset = -1001").await;
    write(&writer, [update(1, Consumed, 7)]).await;
    assert_eq!(row(&fixture, 1).await, "COMPLETE new/0/7 1 old now old -");
}

#[tokio::test]
async fn invisible_rows_are_reported_for_every_kind_of_update() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    fixture.execute("begin").await;
    for id in 1..=4 {
        insert(&fixture, id, "INIT").await;
    }
    let xid: u32 = fixture.text("select (pg_current_xact_id()::xid)::text").await.parse().expect("a number");
    let invisible = |update: RowUpdate| RowUpdate { xid: Some(xid), ..update };
    let changes =
        [invisible(update(1, Published, 1)), update(1, Consumed, 1), invisible(update(2, Resent, 2))];
    let updates = [failed(3, Some(key())), held(4, 3)].map(|update| RowUpdate { xid: Some(xid), ..update });
    let first = write(&writer, changes.clone()).await;
    assert_eq!((first.published, first.completed), (0, Completed::Only([].into())));
    assert_eq!(first.unseen_xids, [xid]);
    assert_eq!(write(&writer, updates.clone()).await.unseen_xids, [xid]);
    fixture.execute("commit").await;
    let second = write(&writer, changes).await;
    assert_eq!((second.published, second.completed), (1, Completed::All));
    assert_eq!(second.unseen_xids, []);
    assert_eq!(write(&writer, updates).await.unseen_xids, []);
    for (id, expected) in [
        (1, "COMPLETE new/0/1 1 now now now -"),
        (2, "PUBLISH new/0/2 1 now - now -"),
        (3, "FAILED - 1 - - now refused"),
    ] {
        assert_eq!(row(&fixture, id).await, expected);
    }
    assert!(row(&fixture, 4).await.starts_with("INIT - 0 - - - held behind row"));
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

// As by `replay --skip` while the write-back waits for the rows to become visible.
#[tokio::test]
async fn removed_held_entry_is_not_restored_by_the_rewrite_of_an_invisible_row() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    fixture.execute("begin").await;
    for id in 1..=2 {
        insert(&fixture, id, "INIT").await;
    }
    let xid: u32 = fixture.text("select (pg_current_xact_id()::xid)::text").await.parse().expect("a number");
    let updates = [failed(1, Some(key())), held(2, 1)].map(|update| RowUpdate { xid: Some(xid), ..update });
    assert_eq!(write(&writer, updates.clone()).await.unseen_xids, [xid]);
    fixture.execute("commit").await;
    assert_eq!(line(&fixture).await, "1 head, 2");
    let head = Uuid::from_u128(1);
    release_head(&fixture.session, &fixture.names, head).await.expect("it is asked").expect("it is a head");
    let again = updates.map(RowUpdate::without_held_entry);
    assert_eq!(write(&writer, again).await.unseen_xids, []);
    assert_eq!(row(&fixture, 1).await, "FAILED - 1 - - now refused");
    assert_eq!(line(&fixture).await, "2");
}

// As by `replay --skip` after the connection was lost on which the batch was written.
#[tokio::test]
async fn removed_held_entry_is_not_restored_by_an_in_doubt_batch() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    for id in 1..=2 {
        insert(&fixture, id, "INIT").await;
    }
    let updates = [failed(1, Some(key())), held(2, 1)].map(|update| RowUpdate { xid: Some(3), ..update });
    let updates = RowUpdateBatch::new(updates);
    // The first write in doubt had not been executed before.
    writer.write(&updates, true).await.expect("it is written");
    assert_eq!(line(&fixture).await, "1 head, 2");
    fixture.execute("delete from postrider.held").await;
    writer.write(&updates, true).await.expect("it is written");
    assert_eq!(line(&fixture).await, "");
}

#[tokio::test]
async fn row_updates_support_an_enum_status() {
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
    write(&writer, (1..=4).map(|id| update(id, Resent, 9))).await;
    write(&writer, (1..=4).map(|id| update(id, Consumed, 9))).await;
    write(&writer, [failed(1, None)]).await;
    assert_eq!(row(&fixture, 1).await, "COMPLETE new/0/9 1 now now now refused");
    assert_eq!(row(&fixture, 4).await, "COMPLETE new/0/9 4 now now now -");
}

/// Two concurrent writers, one with delivery reports and one with receipts, in different orders and batch sizes.
#[tokio::test]
async fn concurrent_deliveries_and_receipts_complete_every_row() {
    const ROWS: u128 = 10_000;
    let fixture = Fixture::set_up().await;
    fixture
        .execute(&format!(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type)
             select lpad(to_hex(n), 32, '0')::uuid, 'a', 'b', 'c' from generate_series(1, {ROWS}) as n"
        ))
        .await;
    let (reports, receipts) = (writer(&fixture).await, writer(&fixture).await);
    let write_all = async |writer: &RowWriter, what: What, step: u128| {
        // A step coprime to the number of rows visits each once.
        let mut ids = (0..ROWS).map(|n| n * step % ROWS + 1).peekable();
        let mut size = 1;
        while ids.peek().is_some() {
            size = size * 7 % 101;
            let batch: Vec<_> = ids.by_ref().take(size).map(|id| update(id, what, id as i64)).collect();
            write(writer, batch).await;
        }
    };
    tokio::join!(write_all(&reports, Published, 3), write_all(&receipts, Consumed, 7));
    let right = "select count(*)::text from outbox
                 where status = 'COMPLETE' and attempts = 1 and kafka_topic = 'new' and kafka_partition = 0
                   and lpad(to_hex(kafka_offset), 32, '0')::uuid = id and published_at is not null
                   and completed_at is not null and last_error is null";
    assert_eq!(fixture.text(right).await, ROWS.to_string());
}
