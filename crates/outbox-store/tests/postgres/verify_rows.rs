use std::time::{Duration, SystemTime};

use outbox::Status;
use outbox_store::{RowToVerify, VerifyRows, VerifySelection, connect};

use crate::fixture::{Fixture, server, tls};

async fn open(fixture: &Fixture, selection: VerifySelection) -> VerifyRows {
    let config = server().url(&fixture.database).parse().expect("a URL");
    let session = connect(&config, &tls()).await.expect("the server is there");
    VerifyRows::open(session, &fixture.names, selection).await.expect("they are read")
}

async fn all(mut rows: VerifyRows) -> Vec<RowToVerify> {
    let mut all = Vec::new();
    loop {
        let some = rows.next(7, usize::MAX).await.expect("they are read");
        assert!(some.len() <= 7);
        if some.is_empty() {
            break;
        }
        all.extend(some);
    }
    assert_eq!(rows.next(7, usize::MAX).await.expect("the end stays the end"), []);
    assert_eq!(all.len() as u64, rows.total());
    all
}

const SOME: &str = "
    insert into outbox (id, aggregate_type, aggregate_id, event_type, payload, status, kafka_topic, kafka_partition,
                        kafka_offset, created_at)
    select gen_random_uuid(), 'a', 'b', 'c', to_jsonb(n),
           case n % 4 when 0 then 'PUBLISH' when 1 then 'COMPLETE' when 2 then 'INIT' else 'FAILED' end,
           case when n % 8 = 0 then null when n % 3 = 0 then 'B' else 'a' end, n % 5, n,
           '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 s'
    from generate_series(0, 99) as n";

#[tokio::test]
async fn delivered_rows_come_by_their_places_and_those_without_one_last() {
    let fixture = Fixture::set_up().await;
    fixture.execute(SOME).await;
    let rows = all(open(&fixture, VerifySelection::default()).await).await;
    assert_eq!(rows.len(), 50);
    let placed: Vec<_> = rows.iter().map_while(|row| row.place.as_ref()).collect();
    assert_eq!(placed.len(), 37);
    assert!(placed.windows(2).all(|pair| pair[0] < pair[1]), "{placed:?}");
    assert!(rows[37..].iter().all(|row| row.place.is_none() && row.status == Status::Publish));
    for row in &rows[..37] {
        let offset = row.place.as_ref().map(|place| place.offset.to_string());
        assert_eq!(row.payload.as_deref(), offset.as_ref().map(String::as_bytes));
    }
}

#[tokio::test]
async fn a_negative_offset_is_no_place() {
    let fixture = Fixture::set_up().await;
    fixture.execute(SOME).await;
    fixture.execute("update outbox set kafka_offset = -1001 where kafka_offset = 1").await;
    let rows = all(open(&fixture, VerifySelection::default()).await).await;
    assert_eq!(rows.iter().map_while(|row| row.place.as_ref()).count(), 36);
    assert!(rows[36..].iter().all(|row| row.place.is_none()));
}

#[tokio::test]
async fn a_selection_is_by_time_or_at_random() {
    let fixture = Fixture::set_up().await;
    fixture.execute(SOME).await;
    let second = |n: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600 + n);
    for (from, to, sample, expected) in [
        (Some(0), None, None, 50),
        (Some(4), Some(8), None, 2),
        (None, Some(4), None, 2),
        (Some(100), None, None, 0),
        (None, None, Some(10), 10),
        (None, None, Some(1000), 50),
        (Some(4), Some(8), Some(1), 1),
    ] {
        let selection = VerifySelection { from: from.map(second), to: to.map(second), sample };
        assert_eq!(all(open(&fixture, selection).await).await.len(), expected, "{selection:?}");
    }
}

#[tokio::test]
async fn rows_are_those_of_one_moment() {
    let fixture = Fixture::set_up().await;
    fixture.execute(SOME).await;
    let rows = open(&fixture, VerifySelection::default()).await;
    fixture.execute("delete from outbox").await;
    assert_eq!(all(rows).await.len(), 50);
}

#[tokio::test]
async fn large_payloads_come_few_at_a_time() {
    let fixture = Fixture::set_up().await;
    fixture
        .execute(
            "alter table outbox alter payload type text;
             insert into outbox (id, aggregate_type, aggregate_id, event_type, payload, status, kafka_topic,
                                 kafka_partition, kafka_offset)
             select gen_random_uuid(), 'a', 'b', 'c', repeat(n::text, 1000000), 'PUBLISH', 't', 0, n
             from generate_series(0, 9) as n",
        )
        .await;
    let mut rows = open(&fixture, VerifySelection::default()).await;
    for number in 0..5_u8 {
        let some = rows.next(1000, 1_500_000).await.expect("they are read");
        assert_eq!(some.len(), 2);
        let payload = some[0].payload.as_deref().expect("it has one");
        assert!(payload.len() == 1_000_000 && payload.iter().all(|byte| *byte == b'0' + 2 * number));
    }
    assert_eq!(rows.next(1000, 1_500_000).await.expect("they are read"), []);
}

#[tokio::test]
async fn selection_by_time_needs_created_at() {
    let fixture = Fixture::set_up().await;
    fixture.execute(SOME).await;
    fixture.execute("alter table outbox drop column created_at").await;
    assert_eq!(all(open(&fixture, VerifySelection::default()).await).await.len(), 50);
    let config = server().url(&fixture.database).parse().expect("a URL");
    let session = connect(&config, &tls()).await.expect("the server is there");
    let selection = VerifySelection { from: Some(SystemTime::UNIX_EPOCH), ..VerifySelection::default() };
    let error = VerifyRows::open(session, &fixture.names, selection).await.err().expect("it cannot");
    assert!(!error.is_retryable() && error.to_string().contains("columns.created_at"), "{error}");
}
