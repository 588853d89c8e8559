//! The write-back against a real PostgreSQL that goes away and comes back.

use std::time::Duration;

use kafka_sink::{ReceiptChunk, WriteBack, WriteBackError, WriteBackOptions, Written};
use openssl::ssl::{SslConnector, SslMethod};
use outbox::{Receipt, RecordPosition, Token};
use outbox_store::{Database, Names, RowUpdate, RowUpdateKind, Shape, Tls, apply, connect, inspect, plan};
use testbed::Postgres;
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

const ROWS: usize = 30_000;
const DEADLINE: Duration = Duration::from_secs(120);

fn tls() -> Tls {
    Tls::new(SslConnector::builder(SslMethod::tls_client()).expect("OpenSSL is there").build())
}

fn database(config: tokio_postgres::Config) -> Database {
    Database { config, tls: tls(), names: Names::default() }
}

fn config(server: &Postgres) -> tokio_postgres::Config {
    server.url("postgres").parse().expect("a URL")
}

async fn sql(server: &Postgres) -> Client {
    let (client, connection) = config(server).connect(NoTls).await.expect("the server is there");
    tokio::spawn(connection);
    client
}

/// A server with an outbox of [`ROWS`] rows, numbered from 0.
async fn set_up() -> Postgres {
    let server = Postgres::start().expect("PostgreSQL starts");
    let session = connect(&config(&server), &tls()).await.expect("the server is there");
    let names = Names::default();
    let catalog = inspect(&session, &names).await.expect("the catalog is read");
    apply(&session, &plan(&catalog, &names, true, Shape::Plain), |_| {}).await.expect("the plan applies");
    let insert = format!(
        "insert into outbox (id, aggregate_type, aggregate_id, event_type)
         select lpad(to_hex(n), 32, '0')::uuid, 'order', n::text, 'placed' from generate_series(0, {ROWS} - 1) as n"
    );
    sql(&server).await.batch_execute(&insert).await.expect("rows are inserted");
    server
}

fn position(number: usize) -> RecordPosition {
    RecordPosition { topic: "orders".into(), partition: 0, offset: number as i64 }
}

fn submit(write_back: &mut WriteBack, number: usize) {
    let update = RowUpdate::new(Uuid::from_u128(number as u128), RowUpdateKind::Published(position(number)));
    write_back.submit(Token::from_usize(number), update).expect("the queue has room");
}

/// Sends receipts of all rows in chunks, a few at a time, in reverse order.
async fn receive_all(receipts: tokio::sync::mpsc::Sender<ReceiptChunk>) {
    const CHUNK: usize = 500;
    let mut open = std::collections::VecDeque::new();
    let mut completed = 0;
    for first in (0..ROWS).step_by(CHUNK).rev() {
        let (done, outcome) = tokio::sync::oneshot::channel();
        let receipts_of_chunk = (first..first + CHUNK).map(|number| Receipt {
            id: Uuid::from_u128(number as u128),
            at: position(number),
            by_request: false,
        });
        let chunk = ReceiptChunk { receipts: receipts_of_chunk.collect(), done };
        receipts.send(chunk).await.expect("the write-back runs");
        open.push_back(outcome);
        if open.len() > 4 {
            let outcome = open.pop_front().expect("there are some");
            completed += outcome.await.expect("it has an outcome").completed;
        }
    }
    for outcome in open {
        completed += outcome.await.expect("it has an outcome").completed;
    }
    // A batch with an unknown outcome may have completed some rows before.
    assert!(completed <= ROWS as u64 && completed > ROWS as u64 * 9 / 10, "{completed}");
}

/// Submits all rows, calls `disturb` halfway, and waits until every row is written.
async fn assert_written_despite(server: &Postgres, disturb: impl FnOnce(&Postgres)) {
    let options = WriteBackOptions { batch_rows_max: 100, ..WriteBackOptions::default() };
    let mut write_back = WriteBack::start(database(config(server)), options);
    let mut written = Written::default();
    let mut submitted = 0;
    let mut disturb = Some(disturb);
    while written.tokens.len() < ROWS {
        while submitted < ROWS && submitted - written.tokens.len() < 1000 {
            submit(&mut write_back, submitted);
            submitted += 1;
        }
        if written.tokens.len() > ROWS / 2
            && let Some(disturb) = disturb.take()
        {
            disturb(server);
        }
        let more = timeout(DEADLINE, write_back.written(&mut written));
        more.await.expect("it comes back in time").expect("an outage is no error");
    }
    let mut numbers: Vec<_> = written.tokens.iter().map(|token| token.to_usize()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..ROWS), "each is reported once");
    let sql = sql(server).await;
    let right = "select count(*) from outbox
                 where status = 'PUBLISH' and attempts = 1 and kafka_topic = 'orders' and kafka_partition = 0
                   and kafka_offset = aggregate_id::bigint";
    let right: i64 = sql.query_one(right, &[]).await.expect("they are counted").get(0);
    assert_eq!(right, ROWS as i64);
    let progress = sql.query_one("select \"offset\" from postrider.progress", &[]).await;
    assert_eq!(progress.expect("one row").get::<_, i64>(0), ROWS as i64 - 1);
}

#[tokio::test]
async fn write_back_writes_every_row_across_a_server_restart() {
    let server = set_up().await;
    assert_written_despite(&server, |server| server.restart().expect("it restarts")).await;
}

#[tokio::test]
async fn write_back_writes_every_row_across_a_server_crash() {
    let server = set_up().await;
    assert_written_despite(&server, |server| {
        server.kill().expect("it is killed");
        server.start_again().expect("it recovers");
    })
    .await;
}

#[tokio::test]
async fn write_back_merges_receipts_and_deliveries_across_server_crashes() {
    let server = set_up().await;
    let options = WriteBackOptions { batch_rows_max: 200, ..WriteBackOptions::default() };
    let mut write_back = WriteBack::start(database(config(&server)), options);
    let consumer = tokio::spawn(receive_all(write_back.receipts()));
    let mut written = Written::default();
    let mut submitted = 0;
    let mut kills = [ROWS / 4, ROWS / 2, ROWS * 3 / 4].into_iter().peekable();
    while written.tokens.len() < ROWS {
        while submitted < ROWS && submitted - written.tokens.len() < 2000 {
            submit(&mut write_back, submitted);
            submitted += 1;
        }
        if kills.next_if(|after| written.tokens.len() > *after).is_some() {
            server.kill().expect("it is killed");
            server.start_again().expect("it recovers");
        }
        let more = timeout(DEADLINE, write_back.written(&mut written));
        more.await.expect("it comes back in time").expect("an outage is no error");
    }
    let relay = async {
        loop {
            write_back.written(&mut written).await.expect("the write-back runs");
        }
    };
    tokio::select! {
        received = timeout(DEADLINE, consumer) => received.expect("in time").expect("every receipt is sent"),
        () = relay => {}
    }
    let right = "select count(*) from outbox
                 where status = 'COMPLETE' and attempts = 1 and kafka_topic = 'orders' and kafka_partition = 0
                   and kafka_offset = aggregate_id::bigint and published_at is not null and completed_at is not null";
    let right: i64 = sql(&server).await.query_one(right, &[]).await.expect("they are counted").get(0);
    assert_eq!(right, ROWS as i64);
    // Rows that became PUBLISH and rows that left PUBLISH are counted, and never more left than came.
    let published: u64 = written.summaries.iter().map(|summary| summary.published).sum();
    let left: u64 =
        written.summaries.iter().flat_map(|summary| &summary.completed).map(|(_, rows)| rows).sum();
    assert!(published >= left, "{published} became PUBLISH, {left} of them COMPLETE");
}

#[tokio::test]
async fn write_back_reports_an_outage_while_it_lasts() {
    let server = set_up().await;
    server.stop().expect("it stops");
    let mut write_back = WriteBack::start(database(config(&server)), WriteBackOptions::default());
    submit(&mut write_back, 0);
    let waiting = async {
        while write_back.outage().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, waiting).await.expect("it is noticed");
    server.start_again().expect("it starts");
    let mut written = Written::default();
    timeout(DEADLINE, write_back.written(&mut written)).await.expect("in time").expect("it resumes");
    assert_eq!(written.tokens, [Token::from_usize(0)]);
    assert_eq!(write_back.outage(), None);
}

#[tokio::test]
async fn write_back_ends_with_the_grant_for_a_revoked_privilege() {
    let server = set_up().await;
    let sql = sql(&server).await;
    sql.batch_execute(
        "create role relay login password 'secret';
         grant select, update on outbox to relay; grant usage on schema postrider to relay;
         grant select, insert, update on postrider.progress to relay",
    )
    .await
    .expect("the role is created");
    let mut as_relay = config(&server);
    as_relay.user("relay").password("secret");
    let mut write_back = WriteBack::start(database(as_relay), WriteBackOptions::default());
    let mut written = Written::default();
    submit(&mut write_back, 0);
    timeout(DEADLINE, write_back.written(&mut written))
        .await
        .expect("in time")
        .expect("the privileges suffice");
    sql.batch_execute("revoke update on outbox from relay").await.expect("it is revoked");
    submit(&mut write_back, 1);
    let rejected = timeout(DEADLINE, write_back.written(&mut written)).await.expect("in time");
    let Err(WriteBackError::Store(error)) = rejected else { panic!("{rejected:?}") };
    assert!(!error.is_retryable());
    let text = error.to_string();
    assert!(text.contains("grant the role SELECT and UPDATE") && !text.contains("secret"), "{text}");
}
