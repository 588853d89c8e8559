use std::time::Duration;

use outbox::Columns;

use outbox_store::{Changed, Happened, RowChange, RowChanges, RowWriter, connect};
use uuid::Uuid;

use crate::fixture::{Fixture, server, tls};

pub(crate) const BUCKET: Duration = Duration::from_secs(10);

fn told(changed: &Changed) -> (u64, Vec<u32>) {
    (changed.published, changed.unseen_xids.clone())
}

pub(crate) fn row(id: u128, topic: &str, partition: i32, offset: i64) -> RowChange {
    let what = Happened::Published;
    RowChange {
        id: Uuid::from_u128(id),
        xid: None,
        topic: topic.into(),
        partition,
        offset: Some(offset),
        what,
    }
}

pub(crate) async fn writer(fixture: &Fixture) -> RowWriter {
    let config: tokio_postgres::Config = server().url(&fixture.database).parse().expect("a URL");
    let session = connect(&config, &tls()).await.expect("the server is there");
    RowWriter::new(session, &fixture.names, BUCKET).await.expect("it is prepared")
}

async fn insert(fixture: &Fixture, id: u128, status: &str) {
    let id = Uuid::from_u128(id);
    fixture
        .execute(&format!(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type, status)
             values ('{id}', 'a', 'b', 'c', '{status}')"
        ))
        .await;
}

async fn says(fixture: &Fixture, id: u128) -> String {
    let id = Uuid::from_u128(id);
    let sql = "select concat_ws(' ', status, kafka_topic, kafka_partition, kafka_offset, attempts,
                   coalesce(published_at >= created_at, false), last_attempt_at = published_at)
               from outbox where id = ";
    fixture.text(&format!("{sql}'{id}'")).await
}

async fn progress(fixture: &Fixture) -> String {
    let sql = "select coalesce(string_agg(concat_ws(' ', topic, partition, \"offset\"), ', '
                   order by topic, partition), '') from postrider.progress where slot = ";
    fixture.text(&format!("{sql}'{}'", fixture.names.slot)).await
}

#[tokio::test]
async fn rows_that_say_init_become_publish_with_their_place_and_the_progress_moves() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    insert(&fixture, 1, "INIT").await;
    insert(&fixture, 2, "INIT").await;
    let batch = RowChanges::new([row(2, "t", 3, 8), row(1, "t", 3, 7)]);
    assert_eq!(writer.write(&batch, false).await.expect("it is written").published, 2);
    assert_eq!(says(&fixture, 1).await, "PUBLISH t 3 7 1 t t");
    assert_eq!(says(&fixture, 2).await, "PUBLISH t 3 8 1 t t");
    assert_eq!(progress(&fixture).await, "t 3 8");
    assert_eq!(writer.write(&batch, false).await.expect("a repetition does no harm").published, 0);
    assert_eq!(says(&fixture, 1).await, "PUBLISH t 3 7 1 t t");
}

#[tokio::test]
async fn no_later_state_is_overwritten_and_a_row_that_is_gone_is_no_error() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    for (id, status) in [(1, "COMPLETE"), (2, "FAILED"), (3, "PUBLISH"), (4, "odd")] {
        insert(&fixture, id, status).await;
    }
    let batch = RowChanges::new((1..=5).map(|id| row(id, "t", 0, 10 + id as i64)));
    assert_eq!(writer.write(&batch, false).await.expect("it is written").published, 0);
    assert_eq!(says(&fixture, 1).await, "COMPLETE 0 f");
    assert_eq!(says(&fixture, 2).await, "FAILED 0 f");
    assert_eq!(says(&fixture, 3).await, "PUBLISH 0 f");
    assert_eq!(says(&fixture, 4).await, "odd 0 f");
    assert_eq!(progress(&fixture).await, "t 0 15");
}

#[tokio::test]
async fn the_progress_of_a_partition_moves_up_and_never_back() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    for (batch, expected) in [
        (vec![row(1, "a", 0, 5), row(2, "b", 0, 1), row(3, "a", 1, 2)], "a 0 5, a 1 2, b 0 1"),
        (vec![row(4, "a", 0, 3), row(5, "b", 0, 9)], "a 0 5, a 1 2, b 0 9"),
        (vec![row(6, "a", 0, 6)], "a 0 6, a 1 2, b 0 9"),
    ] {
        writer.write(&RowChanges::new(batch), false).await.expect("it is written");
        assert_eq!(progress(&fixture).await, expected);
    }
}

#[tokio::test]
async fn status_and_progress_are_written_together_or_not_at_all() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    insert(&fixture, 1, "INIT").await;
    fixture.execute("alter table postrider.progress add check (\"offset\" < 100)").await;
    let error =
        writer.write(&RowChanges::new([row(1, "t", 0, 100)]), false).await.expect_err("it is refused");
    assert!(error.is_definite(), "{error}");
    assert_eq!(says(&fixture, 1).await, "INIT 0 f");
}

#[tokio::test]
async fn columns_under_other_names_and_of_other_types_are_written() {
    let mut fixture = Fixture::empty().await;
    fixture.names.columns = Columns {
        id: "Event Id".to_owned(),
        status: "state".to_owned(),
        kafka_offset: "off\"set".to_owned(),
        attempts: "tries".to_owned(),
        ..Columns::default()
    };
    fixture
        .execute(
            "create type state as enum ('INIT', 'PUBLISH', 'COMPLETE', 'FAILED');
             create table outbox (\"Event Id\" uuid primary key, aggregate_type text, aggregate_id text,
                 event_type text, payload bytea, state state default 'INIT', published_at timestamp,
                 completed_at timestamptz, kafka_topic varchar(10), kafka_partition bigint, \"off\"\"set\" bigint,
                 tries smallint, last_attempt_at timestamptz, last_error text)",
        )
        .await;
    fixture.init().await;
    assert_eq!(fixture.check().await.problems, []);
    let id = Uuid::from_u128(1);
    fixture.execute(&format!("insert into outbox (\"Event Id\") values ('{id}')")).await;
    let written = writer(&fixture).await.write(&RowChanges::new([row(1, "t", 3, 4)]), false).await;
    assert_eq!(written.expect("it is written").published, 1);
    let says =
        "select concat_ws(' ', state, kafka_topic, kafka_partition, \"off\"\"set\", tries) from outbox";
    assert_eq!(fixture.text(says).await, "PUBLISH t 3 4 1");
}

#[tokio::test]
async fn a_commit_is_flushed_even_where_the_database_would_not() {
    let fixture = Fixture::set_up().await;
    fixture.execute(&format!("alter database {} set synchronous_commit = off", fixture.database)).await;
    fixture
        .execute(
            "create function note() returns trigger language plpgsql as
             $$ begin new.last_error := current_setting('synchronous_commit'); return new; end $$;
             create trigger note before update on outbox for each row execute function note()",
        )
        .await;
    insert(&fixture, 1, "INIT").await;
    writer(&fixture).await.write(&RowChanges::new([row(1, "t", 0, 0)]), false).await.expect("it is written");
    assert_eq!(fixture.text("select last_error from outbox").await, "on");
}

#[tokio::test]
async fn a_right_that_is_taken_away_is_a_definite_error_with_the_grant() {
    let mut fixture = Fixture::set_up().await;
    let (role, config) = fixture.role("").await;
    fixture
        .execute(&format!(
            "grant select, update on outbox to {role}; grant usage on schema postrider to {role};
             grant select, insert, update on postrider.progress to {role}"
        ))
        .await;
    fixture.session = connect(&config, &tls()).await.expect("it may log in");
    let writer = RowWriter::new(fixture.session, &fixture.names, BUCKET).await.expect("the rights suffice");
    fixture.sql.batch_execute(&format!("revoke update on outbox from {role}")).await.expect("it is revoked");
    let error = writer.write(&RowChanges::new([row(1, "t", 0, 0)]), false).await.expect_err("it may not");
    assert!(error.is_definite());
    assert!(
        error.to_string().contains("grant the role SELECT and UPDATE on \"public\".\"outbox\""),
        "{error}"
    );
}

#[tokio::test]
async fn batches_are_pipelined_on_one_connection() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    for id in 1..=4 {
        insert(&fixture, id, "INIT").await;
    }
    let (first, second) =
        (RowChanges::new([row(1, "t", 0, 1), row(2, "t", 0, 2)]), RowChanges::new([row(3, "t", 0, 3)]));
    let (first, second) = tokio::join!(writer.write(&first, false), writer.write(&second, false));
    assert_eq!((first.expect("it is written").published, second.expect("it is written").published), (2, 1));
}

// As between the commit record in the log and the moment at which others see the transaction.
#[tokio::test]
async fn rows_that_cannot_be_seen_yet_are_reported_and_found_later() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    insert(&fixture, 1, "INIT").await;
    let seen: u32 = fixture.text("select xmin::text from outbox").await.parse().expect("a number");
    fixture.execute("begin").await;
    insert(&fixture, 2, "INIT").await;
    let unseen: u32 =
        fixture.text("select (pg_current_xact_id()::xid)::text").await.parse().expect("a number");
    let batch = RowChanges::new([
        RowChange { xid: Some(seen), ..row(1, "t", 0, 1) },
        RowChange { xid: Some(unseen), ..row(2, "t", 0, 2) },
    ]);
    let first = writer.write(&batch, false).await.expect("it is written");
    assert_eq!(told(&first), (1, vec![unseen]));
    fixture.execute("commit").await;
    let second = writer.write(&batch, false).await.expect("it is written");
    assert_eq!(told(&second), (1, vec![]));
    assert_eq!(says(&fixture, 2).await, "PUBLISH t 0 2 1 t t");
}

// Rows of a savepoint bear a number of their own; the log and the snapshot go by that of the whole transaction.
#[tokio::test]
async fn rows_of_a_savepoint_are_seen_with_their_transaction() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    fixture.execute("begin").await;
    let xid: u32 = fixture.text("select (pg_current_xact_id()::xid)::text").await.parse().expect("a number");
    fixture.execute("savepoint inner_one").await;
    insert(&fixture, 1, "INIT").await;
    fixture.execute("release savepoint inner_one").await;
    let batch = RowChanges::new([RowChange { xid: Some(xid), ..row(1, "t", 0, 1) }]);
    let first = writer.write(&batch, false).await.expect("it is written");
    assert_eq!(told(&first), (0, vec![xid]));
    fixture.execute("commit").await;
    let second = writer.write(&batch, false).await.expect("it is written");
    assert_eq!(told(&second), (1, vec![]));
}
