use std::time::Duration;

use outbox::OrderingKey;
use outbox_store::{
    HeldReport, OverdueAfter, RowsReport, held_report, known_partitions, log_end, replays_report,
    rows_report, slot_state, wal_flush_position,
};
use uuid::Uuid;

use crate::fixture::Fixture;

const OVERDUE_AFTER: OverdueAfter =
    OverdueAfter { init: Duration::from_secs(60), publish: Duration::from_secs(300) };

async fn overview(fixture: &Fixture) -> RowsReport {
    rows_report(&fixture.session, &fixture.names, OVERDUE_AFTER, 10).await.expect("it is read")
}

#[tokio::test]
async fn an_empty_table_has_no_rows_and_nothing_else_either() {
    let fixture = Fixture::set_up().await;
    assert_eq!(overview(&fixture).await, RowsReport::default());
    let held = held_report(&fixture.session, &fixture.names, OVERDUE_AFTER.init, 10).await;
    assert_eq!(held.expect("it is read"), HeldReport::default());
    let slot = &fixture.names.slot;
    assert_eq!(replays_report(&fixture.session, slot, 10, 10).await.expect("they are read"), []);
    assert_eq!(known_partitions(&fixture.session).await.expect("they are read"), []);
}

#[tokio::test]
async fn a_row_counts_whatever_its_status_and_its_time() {
    let fixture = Fixture::set_up().await;
    fixture
        .execute(
            "alter table outbox alter status drop not null, alter created_at drop not null;
             insert into outbox (id, aggregate_type, aggregate_id, event_type, status, created_at)
             select gen_random_uuid(), 'a', 'b', 'c', status, created_at
             from unnest(array['INIT', null, 'init', ''], array['-infinity', 'infinity', null, '9999-01-01']::timestamptz[])
                  as r (status, created_at)
             cross join generate_series(1, 2)",
        )
        .await;
    let found = overview(&fixture).await;
    assert_eq!((found.init.rows, found.init.overdue, found.init.oldest), (2, 2, None));
    assert_eq!((found.other.rows, found.other.oldest), (6, Some(Duration::ZERO)));
}

#[tokio::test]
async fn names_are_those_of_the_configuration_and_a_table_needs_no_creation_time() {
    let mut fixture = Fixture::set_up().await;
    fixture
        .execute(
            r#"alter table outbox rename column status to "The Status";
               alter table outbox drop column created_at;
               insert into outbox (id, aggregate_type, aggregate_id, event_type, "The Status", last_attempt_at)
               values (gen_random_uuid(), 'a', 'b', 'c', 'INIT', null),
                      (gen_random_uuid(), 'a', 'b', 'c', 'PUBLISH', now() - interval '1 hour'),
                      (gen_random_uuid(), 'a', 'b', 'c', 'FAILED', null)"#,
        )
        .await;
    fixture.names.columns.status = "The Status".to_owned();
    let found = overview(&fixture).await;
    assert_eq!((found.init.rows, found.init.overdue, found.init.oldest), (1, 0, None));
    assert_eq!((found.publish.rows, found.publish.overdue), (1, 1));
    assert_eq!(found.failed_newest.len(), 1);
}

#[tokio::test]
async fn times_without_a_zone_serve_too() {
    let fixture = Fixture::set_up().await;
    fixture
        .execute(
            "alter table outbox alter created_at type timestamp, alter last_attempt_at type timestamp;
             insert into outbox (id, aggregate_type, aggregate_id, event_type, created_at)
             values (gen_random_uuid(), 'a', 'b', 'c', now() - interval '2 minutes')",
        )
        .await;
    let init = overview(&fixture).await.init;
    let age = init.oldest.expect("it has an age");
    assert!((Duration::from_secs(120)..Duration::from_secs(240)).contains(&age), "{age:?}");
    assert_eq!((init.overdue, init.overdue_oldest), (1, init.oldest));
}

#[tokio::test]
async fn no_deadline_is_too_long() {
    let fixture = Fixture::set_up().await;
    let never = OverdueAfter { init: Duration::MAX, publish: Duration::MAX };
    let found = rows_report(&fixture.session, &fixture.names, never, 10).await;
    assert_eq!(found.expect("it is read").init.overdue, 0);
}

#[tokio::test]
async fn keys_are_held_back_by_their_heads_the_longest_first() {
    let fixture = Fixture::set_up().await;
    let slot = &fixture.names.slot;
    fixture
        .execute(&format!(
            r"insert into postrider.held (slot, id, topic, key, head, held_at)
              values ('{slot}', '00000000-0000-0000-0000-000000000001', 't', '\xff', true, now() - interval '1 hour'),
                     ('{slot}', '00000000-0000-0000-0000-000000000002', 't', '\xff', false, now()),
                     ('{slot}', '00000000-0000-0000-0000-000000000003', 't', '\xff', false, now()),
                     ('{slot}', '00000000-0000-0000-0000-000000000004', 't', 'b', false, now() - interval '1 minute'),
                     ('{slot}', '00000000-0000-0000-0000-000000000005', 'u', 'b', true, now());
              insert into outbox (id, aggregate_type, aggregate_id, event_type, status, created_at)
              values ('00000000-0000-0000-0000-000000000001', 'a', 'b', 'c', 'FAILED', now() - interval '1 hour'),
                     ('00000000-0000-0000-0000-000000000002', 'a', 'b', 'c', 'INIT', now() - interval '1 hour'),
                     ('00000000-0000-0000-0000-000000000003', 'a', 'b', 'c', 'INIT', now())"
        ))
        .await;
    let held = held_report(&fixture.session, &fixture.names, OVERDUE_AFTER.init, 2).await;
    let held = held.expect("it is read");
    assert_eq!((held.lanes_total, held.waiting, held.overdue, held.lanes.len()), (3, 3, 1, 2));
    assert_eq!(held.lanes[0].lane, OrderingKey { topic: "t".to_owned(), key: vec![0xff].into() });
    assert_eq!((held.lanes[0].head, held.lanes[0].waiting), (Some(Uuid::from_u128(1)), 2));
    assert_eq!((held.lanes[1].head, held.lanes[1].waiting), (None, 1));
}

#[tokio::test]
async fn missing_objects_name_the_remedy() {
    let fixture = Fixture::empty().await;
    let (session, names) = (&fixture.session, &fixture.names);
    let errors = [
        rows_report(session, names, OVERDUE_AFTER, 1).await.err(),
        held_report(session, names, OVERDUE_AFTER.init, 1).await.err(),
        replays_report(session, &names.slot, 1, 1).await.err(),
        known_partitions(session).await.err(),
    ];
    for error in errors.map(|error| error.expect("there is nothing")) {
        assert!(!error.is_retryable() && error.to_string().contains("postrider init"), "{error}");
    }
    assert_eq!(slot_state(session, &names.slot).await.expect("it is asked for"), None);
}

#[tokio::test]
async fn the_log_ends_where_it_is_written_to() {
    let fixture = Fixture::set_up().await;
    let flushed = wal_flush_position(&fixture.session).await.expect("it is read");
    assert!(log_end(&fixture.session).await.expect("it is read") >= flushed);
}
