//! Writing published rows.

use std::time::Duration;

use outbox::{Columns, RecordPosition};
use outbox_store::{BatchOutcome, RowUpdate, RowUpdateBatch, RowUpdateKind, RowWriter, connect};
use uuid::Uuid;

use crate::fixture::{Fixture, server, tls};

pub(crate) const BUCKET: Duration = Duration::from_secs(10);

pub(crate) fn published(id: u128, topic: &str, partition: i32, offset: i64) -> RowUpdate {
    let at = RecordPosition { topic: topic.into(), partition, offset };
    RowUpdate::new(Uuid::from_u128(id), RowUpdateKind::Published(at))
}

pub(crate) async fn writer(fixture: &Fixture) -> RowWriter {
    let config: tokio_postgres::Config = server().url(&fixture.database).parse().expect("a URL");
    let session = connect(&config, &tls()).await.expect("the server is there");
    RowWriter::new(session, &fixture.names, BUCKET).await.expect("it is prepared")
}

async fn write(
    writer: &RowWriter,
    updates: impl IntoIterator<Item = RowUpdate>,
) -> Result<BatchOutcome, outbox_store::StoreError> {
    writer.write(&RowUpdateBatch::new(updates), false).await
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

async fn row(fixture: &Fixture, id: u128) -> String {
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
async fn write_makes_init_rows_publish_with_position_and_progress() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    insert(&fixture, 1, "INIT").await;
    insert(&fixture, 2, "INIT").await;
    let batch = RowUpdateBatch::new([published(2, "t", 3, 8), published(1, "t", 3, 7)]);
    assert_eq!(writer.write(&batch, false).await.expect("it is written").published, 2);
    assert_eq!(row(&fixture, 1).await, "PUBLISH t 3 7 1 t t");
    assert_eq!(row(&fixture, 2).await, "PUBLISH t 3 8 1 t t");
    assert_eq!(progress(&fixture).await, "t 3 8");
    assert_eq!(writer.write(&batch, false).await.expect("a repetition is harmless").published, 0);
    assert_eq!(row(&fixture, 1).await, "PUBLISH t 3 7 1 t t");
}

#[tokio::test]
async fn write_keeps_later_states_and_ignores_deleted_rows() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    for (id, status) in [(1, "COMPLETE"), (2, "FAILED"), (3, "PUBLISH"), (4, "odd")] {
        insert(&fixture, id, status).await;
    }
    let batch = RowUpdateBatch::new((1..=5).map(|id| published(id, "t", 0, 10 + id as i64)));
    assert_eq!(writer.write(&batch, false).await.expect("it is written").published, 0);
    assert_eq!(row(&fixture, 1).await, "COMPLETE 0 f");
    assert_eq!(row(&fixture, 2).await, "FAILED 0 f");
    assert_eq!(row(&fixture, 3).await, "PUBLISH 0 f");
    assert_eq!(row(&fixture, 4).await, "odd 0 f");
    assert_eq!(progress(&fixture).await, "t 0 15");
}

#[tokio::test]
async fn progress_of_a_partition_never_decreases() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    for (batch, expected) in [
        (
            vec![published(1, "a", 0, 5), published(2, "b", 0, 1), published(3, "a", 1, 2)],
            "a 0 5, a 1 2, b 0 1",
        ),
        (vec![published(4, "a", 0, 3), published(5, "b", 0, 9)], "a 0 5, a 1 2, b 0 9"),
        (vec![published(6, "a", 0, 6)], "a 0 6, a 1 2, b 0 9"),
    ] {
        write(&writer, batch).await.expect("it is written");
        assert_eq!(progress(&fixture).await, expected);
    }
}

#[tokio::test]
async fn status_and_progress_are_written_atomically() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    insert(&fixture, 1, "INIT").await;
    fixture.execute("alter table postrider.progress add check (\"offset\" < 100)").await;
    let error = write(&writer, [published(1, "t", 0, 100)]).await.expect_err("the check rejects it");
    assert!(!error.is_retryable(), "{error}");
    assert_eq!(row(&fixture, 1).await, "INIT 0 f");
}

#[tokio::test]
async fn write_supports_renamed_columns_and_other_types() {
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
    let written = write(&writer(&fixture).await, [published(1, "t", 3, 4)]).await;
    assert_eq!(written.expect("it is written").published, 1);
    let sql = "select concat_ws(' ', state, kafka_topic, kafka_partition, \"off\"\"set\", tries) from outbox";
    assert_eq!(fixture.text(sql).await, "PUBLISH t 3 4 1");
}

#[tokio::test]
async fn write_commits_synchronously_despite_the_database_default() {
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
    write(&writer(&fixture).await, [published(1, "t", 0, 0)]).await.expect("it is written");
    assert_eq!(fixture.text("select last_error from outbox").await, "on");
}

#[tokio::test]
async fn revoked_privilege_is_a_permanent_error_with_the_grant() {
    let mut fixture = Fixture::set_up().await;
    let (role, config) = fixture.role("").await;
    fixture
        .execute(&format!(
            "grant select, update on outbox to {role}; grant usage on schema postrider to {role};
             grant select, insert, update on postrider.progress to {role}"
        ))
        .await;
    fixture.session = connect(&config, &tls()).await.expect("it may log in");
    let writer =
        RowWriter::new(fixture.session, &fixture.names, BUCKET).await.expect("the privileges suffice");
    fixture.sql.batch_execute(&format!("revoke update on outbox from {role}")).await.expect("it is revoked");
    let error = write(&writer, [published(1, "t", 0, 0)]).await.expect_err("UPDATE is revoked");
    assert!(!error.is_retryable());
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
    let (first, second) = (
        RowUpdateBatch::new([published(1, "t", 0, 1), published(2, "t", 0, 2)]),
        RowUpdateBatch::new([published(3, "t", 0, 3)]),
    );
    let (first, second) = tokio::join!(writer.write(&first, false), writer.write(&second, false));
    assert_eq!((first.expect("it is written").published, second.expect("it is written").published), (2, 1));
}

// As between the commit record in the WAL and the moment the transaction becomes visible.
#[tokio::test]
async fn invisible_rows_are_reported_and_written_later() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    insert(&fixture, 1, "INIT").await;
    let seen: u32 = fixture.text("select xmin::text from outbox").await.parse().expect("a number");
    fixture.execute("begin").await;
    insert(&fixture, 2, "INIT").await;
    let unseen: u32 =
        fixture.text("select (pg_current_xact_id()::xid)::text").await.parse().expect("a number");
    let batch = RowUpdateBatch::new([
        RowUpdate { xid: Some(seen), ..published(1, "t", 0, 1) },
        RowUpdate { xid: Some(unseen), ..published(2, "t", 0, 2) },
    ]);
    let first = writer.write(&batch, false).await.expect("it is written");
    assert_eq!((first.published, &*first.unseen_xids), (1, &[unseen][..]));
    fixture.execute("commit").await;
    let second = writer.write(&batch, false).await.expect("it is written");
    assert_eq!((second.published, &*second.unseen_xids), (1, &[][..]));
    assert_eq!(row(&fixture, 2).await, "PUBLISH t 0 2 1 t t");
}

// xmin of a savepoint's row is a subtransaction id; pgoutput and snapshots use the top-level xid.
#[tokio::test]
async fn savepoint_rows_become_visible_with_their_transaction() {
    let fixture = Fixture::set_up().await;
    let writer = writer(&fixture).await;
    fixture.execute("begin").await;
    let xid: u32 = fixture.text("select (pg_current_xact_id()::xid)::text").await.parse().expect("a number");
    fixture.execute("savepoint inner_one").await;
    insert(&fixture, 1, "INIT").await;
    fixture.execute("release savepoint inner_one").await;
    let batch = RowUpdateBatch::new([RowUpdate { xid: Some(xid), ..published(1, "t", 0, 1) }]);
    let first = writer.write(&batch, false).await.expect("it is written");
    assert_eq!((first.published, &*first.unseen_xids), (0, &[xid][..]));
    fixture.execute("commit").await;
    let second = writer.write(&batch, false).await.expect("it is written");
    assert_eq!((second.published, &*second.unseen_xids), (1, &[][..]));
}
