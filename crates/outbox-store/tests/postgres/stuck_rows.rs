use outbox::{CreatedRange, Lsn, RecordPosition, Status};
use outbox_store::{PartitionSummary, StuckRow, StuckRowFilter, StuckRows, mark_log};
use uuid::Uuid;

use crate::fixture::Fixture;

const ANY: CreatedRange = CreatedRange { from_us: i64::MIN, to_us: i64::MAX };

fn suspects(status: Status, created: CreatedRange) -> StuckRowFilter {
    StuckRowFilter { status, created, attempted: None, waited_us: None }
}

async fn stuck_rows(fixture: &Fixture) -> StuckRows {
    StuckRows::new(&fixture.session, &fixture.names).await.expect("the catalog can be asked")
}

/// A row; what is not said of it is `values` in SQL, such as `created_at = now()`.
async fn insert(fixture: &Fixture, id: u128, status: &str, values: &str) {
    let id = Uuid::from_u128(id);
    fixture
        .execute(&format!(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type, status)
             values ('{id}', 'a', 'b', 'c', '{status}')"
        ))
        .await;
    if !values.is_empty() {
        fixture.execute(&format!("update outbox set {values} where id = '{id}'")).await;
    }
}

async fn all_pages(
    fixture: &Fixture,
    of: &StuckRowFilter,
    partitions: Option<&[Option<(String, i32)>]>,
    rows_max: u16,
) -> Vec<Vec<StuckRow>> {
    let rows = stuck_rows(fixture).await;
    let mut pages = rows.pages(of, partitions, rows_max);
    let mut all = Vec::new();
    while let Some(page) = pages.next(&fixture.session).await.expect("the table can be asked") {
        assert!(page.now_us > 1_600_000_000_000_000, "{}", page.now_us);
        all.push(page.rows);
    }
    all
}

async fn ids(fixture: &Fixture, of: &StuckRowFilter, rows_max: u16) -> Vec<u128> {
    all_pages(fixture, of, None, rows_max).await.into_iter().flatten().map(|row| row.id.as_u128()).collect()
}

#[tokio::test]
async fn pages_are_in_the_order_of_creation_and_miss_no_row() {
    let fixture = Fixture::set_up().await;
    let times = [
        "'infinity'",
        "'9999-12-31 23:59:59.999999Z'",
        "'2020-01-01'",
        "'2020-01-01'",
        "'-infinity'",
        "null",
    ];
    fixture.execute("alter table outbox alter created_at drop not null").await;
    for (number, time) in times.iter().enumerate() {
        for copy in 0..3 {
            insert(&fixture, number as u128 * 10 + copy, "INIT", &format!("created_at = {time}")).await;
        }
    }
    insert(&fixture, 100, "PUBLISH", "").await;
    let expected = [40, 41, 42, 20, 21, 22, 30, 31, 32, 10, 11, 12, 0, 1, 2, 50, 51, 52];
    for rows_max in [1, 2, 3, 7, 18, 500] {
        assert_eq!(ids(&fixture, &suspects(Status::Init, ANY), rows_max).await, expected, "{rows_max}");
    }
    let late = all_pages(&fixture, &suspects(Status::Init, ANY), None, 500).await[0][9].created_at_us;
    let late = CreatedRange::of(late);
    assert_eq!(ids(&fixture, &suspects(Status::Init, late), 2).await, [10, 11, 12]);
    let until = CreatedRange { from_us: i64::MIN, to_us: 1_600_000_000_000_000 };
    assert_eq!(ids(&fixture, &suspects(Status::Init, until), 2).await, [40, 41, 42, 20, 21, 22, 30, 31, 32]);
}

#[tokio::test]
async fn held_rows_are_not_among_them() {
    let fixture = Fixture::set_up().await;
    for id in 1..=3 {
        insert(&fixture, id, "INIT", "").await;
    }
    let slot = &fixture.names.slot;
    for (slot, id) in [(slot.as_str(), 1), ("another", 2)] {
        fixture
            .execute(&format!(
                "insert into postrider.held (slot, id, topic, key, head) values ('{slot}', '{}', 't', 'k', false)",
                Uuid::from_u128(id)
            ))
            .await;
    }
    assert_eq!(ids(&fixture, &suspects(Status::Init, ANY), 500).await, [2, 3]);
    let rows = stuck_rows(&fixture).await;
    let asked: Vec<Uuid> = (1..=4).map(Uuid::from_u128).collect();
    let mut still = rows.still_init(&fixture.session, &asked).await.expect("the table can be asked");
    still.sort_unstable();
    assert_eq!(still, [Uuid::from_u128(2), Uuid::from_u128(3)]);
}

#[tokio::test]
async fn the_pages_have_an_end_while_rows_are_inserted() {
    let fixture = Fixture::set_up().await;
    for id in 0..10 {
        insert(&fixture, id, "INIT", "").await;
    }
    let rows = stuck_rows(&fixture).await;
    let of = suspects(Status::Init, ANY);
    let mut pages = rows.pages(&of, None, 2);
    let mut found = 0;
    while let Some(page) = pages.next(&fixture.session).await.expect("the table can be asked") {
        found += page.rows.len() as u128;
        assert!(found <= 10, "it ends");
        for id in 0..5 {
            insert(&fixture, 1000 * found + id, "INIT", "").await;
        }
    }
    assert_eq!(found, 10);
}

#[tokio::test]
async fn rows_are_found_by_the_time_of_their_sending() {
    let fixture = Fixture::set_up().await;
    for id in 1..=4 {
        let set =
            format!("last_attempt_at = 'epoch'::timestamptz + interval '{id} microseconds', attempts = 2");
        insert(&fixture, id, "PUBLISH", &set).await;
    }
    insert(&fixture, 5, "PUBLISH", "").await;
    let between = StuckRowFilter { attempted: Some((2, 3)), ..suspects(Status::Publish, ANY) };
    let rows = all_pages(&fixture, &between, None, 500).await.remove(0);
    assert_eq!(rows.iter().map(|row| row.last_attempt_at_us).collect::<Vec<_>>(), [Some(2), Some(3)]);
    assert!(rows.iter().all(|row| row.attempts == 2 && row.place.is_none()));
}

#[tokio::test]
async fn rows_are_found_by_how_long_they_have_waited() {
    let fixture = Fixture::set_up().await;
    fixture.execute("alter table outbox alter created_at drop not null").await;
    let ago = |minutes: u32| format!("now() - interval '{minutes} minutes'");
    insert(&fixture, 1, "PUBLISH", &format!("created_at = {}, last_attempt_at = {}", ago(9), ago(1))).await;
    insert(&fixture, 2, "PUBLISH", &format!("created_at = {}, published_at = {}", ago(9), ago(1))).await;
    insert(&fixture, 3, "PUBLISH", &format!("created_at = {}", ago(1))).await;
    insert(&fixture, 4, "PUBLISH", &format!("created_at = {}, last_attempt_at = {}", ago(1), ago(9))).await;
    insert(&fixture, 5, "PUBLISH", &format!("created_at = {}, published_at = {}", ago(1), ago(9))).await;
    insert(&fixture, 6, "PUBLISH", &format!("created_at = {}", ago(9))).await;
    insert(&fixture, 7, "PUBLISH", "created_at = null").await;
    insert(&fixture, 8, "PUBLISH", "last_attempt_at = 'infinity'").await;
    let of = StuckRowFilter { waited_us: Some(5 * 60_000_000), ..suspects(Status::Publish, ANY) };
    let mut found = ids(&fixture, &of, 2).await;
    found.sort_unstable();
    assert_eq!(found, [4, 5, 6, 7, 8]);

    let rows = stuck_rows(&fixture).await;
    let minute = 60_000_000;
    let summary =
        rows.partition_summary(&fixture.session, &of, 60_000_000, None).await.expect("it can be summed up");
    assert_eq!(summary.not_yet_due.iter().map(|not_yet_due| not_yet_due.rows).sum::<u64>(), 3);
    for not_yet_due in &summary.not_yet_due {
        assert!((minute..2 * minute).contains(&not_yet_due.waited_us), "{not_yet_due:?}");
    }
    assert_eq!(summary.partitions.iter().map(|rows| rows.rows).sum::<u64>(), 5);
    let counted = rows
        .partition_summary(&fixture.session, &of, 60_000_000, Some(0))
        .await
        .expect("it can be summed up");
    assert_eq!(
        counted.not_yet_due.iter().map(|not_yet_due| not_yet_due.rows).sum::<u64>(),
        2,
        "all but the one with a time"
    );
}

fn place(partition: i32, offset: i64) -> String {
    format!("kafka_topic = 'it''s {{id}}', kafka_partition = {partition}, kafka_offset = {offset}")
}

#[tokio::test]
async fn rows_are_summed_up_by_partition_and_read_by_partition() {
    let fixture = Fixture::set_up().await;
    let topic = "it's {id}".to_owned();
    let at = |us: u32| format!(", created_at = 'epoch'::timestamptz + interval '{us} microseconds'");
    insert(&fixture, 1, "PUBLISH", &(place(0, 9) + &at(30))).await;
    insert(&fixture, 2, "PUBLISH", &(place(0, 10) + &at(20))).await;
    insert(&fixture, 3, "PUBLISH", &(place(0, 100) + &at(10))).await;
    insert(&fixture, 4, "PUBLISH", &(place(1, 5) + ", created_at = 'infinity'")).await;
    insert(&fixture, 5, "PUBLISH", &(place(1, -1) + &at(5))).await;
    insert(&fixture, 6, "PUBLISH", &format!("kafka_topic = 'x', kafka_offset = 1{}", at(6))).await;
    insert(&fixture, 7, "COMPLETE", &place(0, 1)).await;
    let rows = stuck_rows(&fixture).await;
    let of = suspects(Status::Publish, ANY);
    let summary = rows.partition_summary(&fixture.session, &of, 1, None).await;
    let PartitionSummary { mut partitions, not_yet_due } = summary.expect("it can be summed up");
    assert_eq!(not_yet_due, []);
    partitions.sort_by_key(|rows| rows.partition.clone());
    let summary: Vec<_> = partitions.iter().map(|p| (p.partition.clone(), p.rows, p.created)).collect();
    let expected = [
        (None, 2, CreatedRange { from_us: 5, to_us: 6 }),
        (Some((topic.clone(), 0)), 3, CreatedRange { from_us: 10, to_us: 30 }),
        (Some((topic.clone(), 1)), 1, ANY),
    ];
    assert_eq!(summary, expected);
    assert_eq!(partitions[1].lowest, (9, Uuid::from_u128(1)));
    assert_eq!(partitions[1].highest, (100, Uuid::from_u128(3)));

    for (partitions, expected) in [
        (vec![None], vec![5, 6]),
        (vec![Some((topic.clone(), 0))], vec![3, 2, 1]),
        (vec![Some((topic.clone(), 1)), None], vec![5, 6, 4]),
        (vec![], vec![]),
    ] {
        let pages = all_pages(&fixture, &of, Some(&partitions), 2).await;
        let found: Vec<u128> = pages.iter().flatten().map(|row| row.id.as_u128()).collect();
        assert_eq!(found, expected, "{partitions:?}");
    }
    let row = all_pages(&fixture, &of, Some(&[Some((topic.clone(), 1))]), 2).await.remove(0).remove(0);
    assert_eq!(row.place, Some(RecordPosition { topic: topic.into(), partition: 1, offset: 5 }));
}

#[tokio::test]
async fn a_table_without_created_at_is_read_by_id() {
    let fixture = Fixture::set_up().await;
    fixture.execute("alter table outbox drop column created_at").await;
    for id in [3, 1, 2] {
        insert(&fixture, id, "INIT", "").await;
        insert(&fixture, id + 10, "PUBLISH", &place(0, 4)).await;
    }
    let bounded = CreatedRange::of(Some(5));
    for created in [ANY, bounded] {
        assert_eq!(ids(&fixture, &suspects(Status::Init, created), 2).await, [1, 2, 3]);
        let of = StuckRowFilter { waited_us: Some(5), ..suspects(Status::Publish, created) };
        assert_eq!(ids(&fixture, &of, 2).await, [11, 12, 13]);
        let rows = stuck_rows(&fixture).await;
        let summary =
            rows.partition_summary(&fixture.session, &of, 1, Some(9)).await.expect("it can be summed up");
        assert_eq!((summary.partitions[0].rows, summary.partitions[0].created), (3, ANY));
    }
}

#[tokio::test]
async fn columns_may_have_other_types_and_names() {
    let mut fixture = Fixture::empty().await;
    fixture.names.columns.created_at = "made, {id}".to_owned();
    fixture.names.columns.status = "St\"atus".to_owned();
    fixture.init().await;
    fixture
        .execute(
            r#"alter table outbox alter "made, {id}" drop default;
               alter table outbox alter "made, {id}" type timestamp, alter kafka_partition type bigint,
                   alter attempts type smallint, alter last_attempt_at type timestamp;
               insert into outbox (id, aggregate_type, aggregate_id, event_type, "made, {id}", "St""atus",
                   kafka_topic, kafka_partition, kafka_offset, attempts, last_attempt_at)
               select lpad(to_hex(n), 32, '0')::uuid, 'a', 'b', 'c', 'epoch'::timestamp + n * interval '1 s', 'PUBLISH',
                   't', n % 3, n, n, (now() - interval '1 hour')::timestamp from generate_series(1, 7) n"#,
        )
        .await;
    let created = CreatedRange { from_us: 2_000_000, to_us: 6_000_000 };
    let of = StuckRowFilter { waited_us: Some(60_000_000), ..suspects(Status::Publish, created) };
    assert_eq!(ids(&fixture, &of, 2).await, [2, 3, 4, 5, 6]);
    let unbounded = suspects(Status::Publish, ANY);
    assert_eq!(ids(&fixture, &unbounded, 3).await, [1, 2, 3, 4, 5, 6, 7]);
    let rows = stuck_rows(&fixture).await;
    let summary =
        rows.partition_summary(&fixture.session, &of, 1000, None).await.expect("it can be summed up");
    assert_eq!(summary.partitions.iter().map(|rows| rows.rows).sum::<u64>(), 5);
    let page = all_pages(&fixture, &of, Some(&[Some(("t".to_owned(), 1))]), 9).await.remove(0);
    assert_eq!(
        page.iter().map(|row| (row.attempts, row.created_at_us)).collect::<Vec<_>>(),
        [(4, Some(4_000_000))]
    );
}

#[tokio::test]
async fn a_mark_is_behind_what_is_visible() {
    let fixture = Fixture::set_up().await;
    let before: Lsn =
        fixture.text("select pg_current_wal_insert_lsn()::text").await.parse().expect("a position");
    let first = mark_log(&fixture.session).await.expect("it is written");
    insert(&fixture, 1, "INIT", "").await;
    let second = mark_log(&fixture.session).await.expect("it is written");
    assert!(before < first && first < second, "{before} {first} {second}");
}

// Analysed, as any table is that has grown for a while.
#[tokio::test]
async fn an_overdue_bucket_is_read_by_the_index_of_a_large_table() {
    let fixture = Fixture::set_up().await;
    fixture
        .execute(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type, status, created_at, last_attempt_at)
             select lpad(to_hex(n), 32, '0')::uuid, 'a', 'b', 'c', 'COMPLETE', now() - n * interval '1 s', now()
             from generate_series(1, 100000) n;
             update outbox set status = 'INIT' where id = lpad(to_hex(50000), 32, '0')::uuid;
             update outbox set status = 'PUBLISH' where id = lpad(to_hex(50001), 32, '0')::uuid;
             analyze outbox",
        )
        .await;
    let second = |n: u64| {
        let sql = format!(
            "select (extract(epoch from created_at) * 1000000)::int8::text from outbox
             where id = lpad(to_hex({n}), 32, '0')::uuid"
        );
        let fixture = &fixture;
        async move { fixture.text(&sql).await.parse::<i64>().expect("a number") }
    };
    let created = CreatedRange { from_us: second(50_100).await, to_us: second(49_900).await };
    fixture
        .execute("create extension if not exists pg_stat_statements; select pg_stat_statements_reset()")
        .await;
    assert_eq!(ids(&fixture, &suspects(Status::Init, created), 500).await, [50_000]);
    let of = StuckRowFilter { attempted: Some((0, i64::MAX)), ..suspects(Status::Publish, created) };
    let rows = stuck_rows(&fixture).await;
    let summary = rows.partition_summary(&fixture.session, &of, 1, None).await.expect("it can be summed up");
    assert_eq!(summary.partitions.len(), 1);
    let most = fixture
        .text(
            "select max(shared_blks_hit + shared_blks_read)::text from pg_stat_statements
             where dbid = (select oid from pg_database where datname = current_database())
                 and query like '%postrider.held%'",
        )
        .await;
    // The table has thousands of pages.
    assert!(most.parse::<u64>().is_ok_and(|most| most < 500), "{most} pages");
}
