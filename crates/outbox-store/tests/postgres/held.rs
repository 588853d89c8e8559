//! Lanes that are held back.

use outbox::OrderingKey;
use outbox_store::{
    EventRows, HeldKey, RowUpdate, RowUpdateBatch, RowUpdateKind, load_held_keys, release_head, remove_held,
    waiting_events_of,
};
use uuid::Uuid;

use crate::fixture::Fixture;
use crate::row_writer::writer;

fn id(id: u128) -> Uuid {
    Uuid::from_u128(id)
}

fn ordering_key(key: &str) -> OrderingKey {
    OrderingKey { topic: "orders".to_owned(), key: key.to_owned().into() }
}

fn head(row: u128, key: &str) -> RowUpdate {
    let reason = "too large".to_owned();
    RowUpdate::new(id(row), RowUpdateKind::Failed { reason, sent: true, head_of: Some(ordering_key(key)) })
}

fn held(row: u128, key: &str, head: u128) -> RowUpdate {
    RowUpdate::new(id(row), RowUpdateKind::Held { key: Some(ordering_key(key)), head: id(head) })
}

async fn insert(fixture: &Fixture, rows: impl IntoIterator<Item = u128>) {
    for row in rows {
        let insert = "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload) values";
        fixture
            .execute(&format!("{insert} ('{}', 'order', 'k', 'placed', '{{\"n\": {row}}}')", id(row)))
            .await;
    }
}

async fn write(fixture: &Fixture, updates: impl IntoIterator<Item = RowUpdate>) {
    let outcome = writer(fixture).await.write(&RowUpdateBatch::new(updates), false).await;
    assert_eq!(outcome.expect("it is written").unseen_xids, []);
}

async fn held_keys(fixture: &Fixture) -> Vec<HeldKey> {
    load_held_keys(&fixture.session, &fixture.names).await.expect("they are read")
}

async fn waiting(fixture: &Fixture, key: &str, rows_max: usize) -> Vec<u128> {
    let event_rows = EventRows::new(&fixture.session, &fixture.names).await.expect("the columns are known");
    let rows =
        waiting_events_of(&fixture.session, &fixture.names, &event_rows, &ordering_key(key), rows_max).await;
    let rows = rows.expect("they are read");
    for row in &rows {
        let payload = row.payload.as_deref().expect("each has one");
        assert_eq!(payload, format!("{{\"n\": {}}}", row.id.as_u128()).as_bytes());
    }
    rows.iter().map(|row| row.id.as_u128()).collect()
}

#[tokio::test]
async fn rows_wait_in_the_order_in_which_they_were_set_aside() {
    let fixture = Fixture::set_up().await;
    insert(&fixture, 1..=9).await;
    write(&fixture, [head(9, "k"), held(5, "k", 9), held(7, "k", 9), head(8, "l"), held(2, "k", 9)]).await;
    write(&fixture, [held(1, "k", 9), held(3, "l", 8), held(7, "k", 9)]).await;
    assert_eq!(
        waiting(&fixture, "k", 100).await,
        [5, 7, 2, 1],
        "to set aside what waits already moves it nowhere"
    );
    assert_eq!(waiting(&fixture, "k", 2).await, [5, 7]);
    assert_eq!(waiting(&fixture, "l", 100).await, [3]);
    assert_eq!(waiting(&fixture, "m", 100).await, []);
    let expected = [
        HeldKey { key: ordering_key("k"), head: Some(id(9)), waiting: 4 },
        HeldKey { key: ordering_key("l"), head: Some(id(8)), waiting: 1 },
    ];
    assert_eq!(held_keys(&fixture).await, expected);
}

#[tokio::test]
async fn a_row_that_waited_and_fails_becomes_the_head_in_its_place() {
    let fixture = Fixture::set_up().await;
    insert(&fixture, 1..=4).await;
    write(&fixture, [head(1, "k"), held(2, "k", 1), held(3, "k", 1), held(4, "k", 1)]).await;
    assert_eq!(release_head(&fixture.session, &fixture.names, id(2)).await.expect("it is asked"), None);
    let released = release_head(&fixture.session, &fixture.names, id(1)).await.expect("it is released");
    assert_eq!(released, Some(ordering_key("k")));
    write(&fixture, [head(2, "k")]).await;
    assert_eq!(
        held_keys(&fixture).await,
        [HeldKey { key: ordering_key("k"), head: Some(id(2)), waiting: 2 }]
    );
    assert_eq!(waiting(&fixture, "k", 9).await, [3, 4]);
    let order = "select string_agg(right(id::text, 1), ' ' order by seq) from postrider.held";
    assert_eq!(fixture.text(order).await, "2 3 4");
    assert_eq!(remove_held(&fixture.session, &fixture.names, &[id(3), id(9)]).await.expect("it is done"), 1);
    assert_eq!(waiting(&fixture, "k", 9).await, [4]);
}

#[tokio::test]
async fn to_set_the_head_aside_as_one_that_waits_does_not_take_its_head_off() {
    let fixture = Fixture::set_up().await;
    insert(&fixture, 1..=1).await;
    write(&fixture, [head(1, "k")]).await;
    write(&fixture, [held(1, "k", 1)]).await;
    write(&fixture, [head(1, "k")]).await;
    assert_eq!(
        held_keys(&fixture).await,
        [HeldKey { key: ordering_key("k"), head: Some(id(1)), waiting: 0 }]
    );
}

#[tokio::test]
async fn load_held_keys_removes_stale_entries() {
    let fixture = Fixture::set_up().await;
    insert(&fixture, 1..=10).await;
    write(&fixture, [head(1, "k"), held(2, "k", 1), held(3, "k", 1), held(4, "k", 1), held(5, "k", 1)]).await;
    write(&fixture, [head(6, "l"), held(7, "l", 6)]).await;
    write(&fixture, [head(8, "m")]).await;
    write(&fixture, [head(9, "n"), held(10, "n", 9)]).await;
    // 2 was published before the crash, 3 was given up and holds no row, 4 is long gone, 5 may not be visible yet;
    // the heads of l and m were sent, that of n is gone.
    for change in [
        "update outbox set status = 'PUBLISH' where id = ",
        "update outbox set status = 'FAILED' where id = ",
        "update postrider.held set held_at = now() - interval '1 hour' where id = ",
        "delete from outbox where id = ",
        "delete from outbox where id = ",
        "update outbox set status = 'COMPLETE' where id = ",
        "update outbox set status = 'INIT' where id = ",
        "update postrider.held set held_at = now() - interval '1 hour' where id = ",
        "delete from outbox where id = ",
    ]
    .iter()
    .zip([2, 3, 4, 4, 5, 6, 8, 9, 9])
    {
        fixture.execute(&format!("{}'{}'", change.0, id(change.1))).await;
    }
    let expected = [
        HeldKey { key: ordering_key("k"), head: Some(id(1)), waiting: 1 },
        HeldKey { key: ordering_key("l"), head: None, waiting: 1 },
        HeldKey { key: ordering_key("n"), head: None, waiting: 1 },
    ];
    assert_eq!(held_keys(&fixture).await, expected);
    assert_eq!(waiting(&fixture, "k", 9).await, Vec::<u128>::new());
    assert_eq!(waiting(&fixture, "l", 9).await, [7]);
    assert_eq!(held_keys(&fixture).await, expected, "loading is idempotent");
}

#[tokio::test]
async fn held_keys_belong_to_a_slot() {
    let fixture = Fixture::set_up().await;
    insert(&fixture, 1..=2).await;
    write(&fixture, [head(1, "k"), held(2, "k", 1)]).await;
    let mut other = fixture.names.clone();
    other.slot = "another".to_owned();
    assert_eq!(load_held_keys(&fixture.session, &other).await.expect("they are read"), []);
    assert_eq!(release_head(&fixture.session, &other, id(1)).await.expect("it is asked"), None);
    assert_eq!(remove_held(&fixture.session, &other, &[id(1)]).await.expect("it is done"), 0);
    assert_eq!(held_keys(&fixture).await.len(), 1);
}

#[tokio::test]
async fn event_of_a_deleted_row_waits_as_it_was_and_a_failed_one_without_a_key_is_kept() {
    let fixture = Fixture::set_up().await;
    insert(&fixture, 2..=2).await;
    let with_event = |update: RowUpdate| {
        let event = outbox::Event {
            payload: Some(format!("{{\"n\": {}}}", update.id.as_u128()).into()),
            created_at_us: Some(1_700_000_000_123_456),
            ..outbox::Event::new(update.id)
        };
        RowUpdate { event: Some(Box::new(event)), ..update }
    };
    let parked = RowUpdateKind::Failed { reason: "r".to_owned(), sent: false, head_of: None };
    let parked = |row| with_event(RowUpdate::new(id(row), parked.clone()));
    write(&fixture, [with_event(head(1, "k")), held(2, "k", 1), with_event(held(3, "k", 1))]).await;
    write(&fixture, [parked(4), parked(2)]).await;
    assert_eq!(waiting(&fixture, "k", 9).await, [3], "row 2 is FAILED");
    let (session, names) = (&fixture.session, &fixture.names);
    let kept = outbox_store::events_without_row(session, names, &[1, 2, 3, 4].map(id)).await.expect("read");
    assert_eq!(kept.iter().map(|event| event.id.as_u128()).collect::<Vec<_>>(), [1, 4], "3 has not failed");
    assert!(kept.iter().all(|event| event.created_at_us == Some(1_700_000_000_123_456)));
    outbox_store::remove_failed(session, names, &[id(2), id(3)]).await.expect("done");
    let left = "select string_agg(right(id::text, 1) || coalesce(topic, '-') || head, ' ' order by seq) from postrider.held";
    assert_eq!(fixture.text(left).await, "1orderstrue 3-true 4-true");
    for (row, dropped) in [(4, true), (4, false), (3, true), (1, true)] {
        let outcome = outbox_store::drop_event_without_row(session, names, id(row)).await;
        assert_eq!(outcome.expect("deleted"), dropped, "row {row}");
    }
}
