//! Errors of the server: whether they are retryable, and their remedies.

use testbed::Postgres;
use tokio_postgres::{Config, NoTls};
use wal_reader::{Change, Error, connect};

use crate::support::{SlotFixture, StreamReader, shared, within};

async fn refused(config: &Config) -> Error {
    let error = within("an answer", connect(config, NoTls)).await.expect_err("the server refuses it");
    println!("{error}");
    error
}

async fn refused_start(fixture: &SlotFixture) -> Error {
    let client = connect(&fixture.config, NoTls).await.expect("a connection");
    let error = within("an answer", client.start_replication(&fixture.start()))
        .await
        .expect_err("the server refuses it");
    println!("{error}");
    error
}

fn config() -> Config {
    shared().url("postgres").parse().expect("a URL")
}

#[tokio::test]
async fn wrong_password_is_not_retryable_and_not_in_the_text() {
    let mut config = config();
    config.password("hunter2");
    let error = refused(&config).await;
    assert!(!error.is_retryable() && error.sqlstate() == Some("28P01"), "{error}");
    assert!(error.to_string().contains("correct the user name or the password"), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn missing_password_is_not_retryable() {
    let mut config = Config::new();
    config.host("127.0.0.1").port(shared().port()).user("postgres").dbname("postgres");
    let error = refused(&config).await;
    assert!(!error.is_retryable() && error.to_string().contains("set the password"), "{error}");
}

#[tokio::test]
async fn missing_database_is_not_retryable() {
    let mut config = config();
    config.dbname("no_such_database");
    let error = refused(&config).await;
    assert!(!error.is_retryable() && error.sqlstate() == Some("3D000"), "{error}");
}

#[tokio::test]
async fn role_without_replication_has_a_remedy() {
    shared().execute("postgres", "CREATE ROLE \"plain role\" LOGIN PASSWORD 'x'").expect("a role");
    let mut config = config();
    config.user("plain role").password("x");
    let error = refused(&config).await;
    assert!(
        !error.is_retryable() && error.to_string().contains("ALTER ROLE \"plain role\" REPLICATION"),
        "{error}"
    );
}

#[tokio::test]
async fn role_without_connect_has_a_remedy() {
    let database = shared().create_database("closed").expect("a database");
    let sql = format!(
        "REVOKE CONNECT ON DATABASE \"{database}\" FROM PUBLIC; CREATE ROLE outsider LOGIN REPLICATION PASSWORD 'x'"
    );
    shared().execute("postgres", &sql).expect("a role");
    let mut config = config();
    config.user("outsider").password("x").dbname(&database);
    let error = refused(&config).await;
    assert!(
        !error.is_retryable()
            && error
                .to_string()
                .contains(&format!("GRANT CONNECT ON DATABASE \"{database}\" TO \"outsider\"")),
        "{error}"
    );
}

#[tokio::test]
async fn role_rejected_by_pg_hba_has_a_remedy() {
    shared().execute("postgres", "CREATE ROLE banned_role LOGIN REPLICATION PASSWORD 'x'").expect("a role");
    let mut config = config();
    config.user("banned_role").password("x");
    let error = refused(&config).await;
    assert!(!error.is_retryable() && error.to_string().contains("pg_hba.conf"), "{error}");
}

#[tokio::test]
async fn missing_slot_is_not_retryable_and_has_a_remedy() {
    let mut fixture = SlotFixture::new(shared(), "a text").await;
    fixture.slot = "no_such_slot".to_owned();
    let error = refused_start(&fixture).await;
    assert!(!error.is_retryable() && error.is_slot_missing(), "{error}");
    assert!(
        error.to_string().contains("no_such_slot") && error.to_string().contains("postrider init"),
        "{error}"
    );
}

#[tokio::test]
async fn unusable_slot_is_not_retryable() {
    let mut fixture = SlotFixture::new(shared(), "a text").await;
    let other = SlotFixture::new(shared(), "a text").await;
    let sql = format!(
        "SELECT pg_create_physical_replication_slot('physical_{0}', true);
         SELECT pg_create_logical_replication_slot('other_{0}', 'test_decoding')",
        fixture.slot
    );
    let has_test_decoding = fixture.sql.batch_execute(&sql).await.is_ok();
    let mut slots = vec![other.slot.clone()];
    // test_decoding is part of contrib and may not be installed.
    if has_test_decoding {
        slots.extend([format!("physical_{}", fixture.slot), format!("other_{}", fixture.slot)]);
    }
    for slot in slots {
        fixture.slot = slot;
        let error = refused_start(&fixture).await;
        assert!(!error.is_retryable() && !error.is_slot_missing() && !error.is_slot_invalidated(), "{error}");
    }
}

#[tokio::test]
async fn slot_in_use_is_retryable_and_names_the_holder() {
    let fixture = SlotFixture::new(shared(), "a text").await;
    let holder = fixture.stream().await;
    let error = refused_start(&fixture).await;
    assert!(error.is_retryable() && error.is_slot_in_use(), "{error}");
    let sql = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1";
    let pid: i32 = fixture.sql.query_one(sql, &[&fixture.slot]).await.expect("the slot").get(0);
    assert!(error.to_string().contains(&pid.to_string()), "{error} but the holder is {pid}");
    holder.stream.finish().await.expect("an end");
    fixture.stream().await;
}

#[tokio::test]
async fn missing_publication_ends_the_stream_before_its_commit() {
    let fixture = SlotFixture::new(shared(), "a text").await;
    // The setting of the role must not hide the warning of PostgreSQL 18.
    let mut start = fixture.start();
    start.publications = vec!["no_such_publication".to_owned()];
    let mut config = fixture.config.clone();
    config.options("-c client_min_messages=error");
    let client = connect(&config, NoTls).await.expect("a connection");
    let mut reader = StreamReader::new(client.start_replication(&start).await.expect("a stream"));
    fixture.sql.execute("INSERT INTO t VALUES ('x')", &[]).await.expect("a row");
    let error = loop {
        match reader.change().await {
            Ok(Change::Insert { .. }) => panic!("received a row without a publication"),
            Ok(Change::Commit { .. }) => {
                panic!("the transaction was skipped without an error")
            }
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    println!("{error}");
    assert!(!error.is_retryable() && error.is_publication_missing(), "{error}");
    assert!(error.to_string().contains("no_such_publication") && error.remedy().is_some(), "{error}");
}

#[tokio::test]
async fn names_may_contain_any_character() {
    let mut fixture = SlotFixture::new(shared(), "a text").await;
    let name = r#"it's "quoted", über"#;
    fixture
        .sql
        .batch_execute(r#"CREATE PUBLICATION "it's ""quoted"", über" FOR TABLE t"#)
        .await
        .expect("a publication");
    let mut start = fixture.start();
    start.publications.push(name.to_owned());
    let client = connect(&fixture.config, NoTls).await.expect("a connection");
    let mut reader = StreamReader::new(client.start_replication(&start).await.expect("a stream"));
    fixture.sql.execute("INSERT INTO t VALUES ('x')", &[]).await.expect("a row");
    fixture.mark("end").await;
    assert_eq!(reader.rows_until("end").await, [["a=x"]]);

    fixture.slot = "no 'such' slot".to_owned();
    let error = refused_start(&fixture).await;
    assert!(error.is_slot_missing() && error.to_string().contains(&fixture.slot), "{error}");
    fixture.slot = "zero\0byte".to_owned();
    assert!(!refused_start(&fixture).await.is_retryable());
}

#[tokio::test]
async fn wal_level_replica_has_a_remedy() {
    let server = Postgres::builder().setting("wal_level", "replica").start().expect("a server");
    let config: Config = server.url("postgres").parse().expect("a URL");
    let client = connect(&config, NoTls).await.expect("a connection");
    let start = wal_reader::StartReplication {
        slot: "s".to_owned(),
        publications: vec!["p".to_owned()],
        from: outbox::Lsn::ZERO,
    };
    let error = client.start_replication(&start).await.expect_err("wal_level is replica");
    println!("{error}");
    assert!(
        !error.is_retryable() && error.to_string().contains("set wal_level = logical and restart"),
        "{error}"
    );
}

#[tokio::test]
async fn invalidated_slot_is_recognized_and_not_retryable() {
    let server =
        Postgres::builder().setting("max_slot_wal_keep_size", "1MB").setting("wal_keep_size", "0").start();
    let server = server.expect("a server");
    let fixture = SlotFixture::new(&server, "a text").await;
    let mut lost = false;
    for _ in 0..100 {
        for sql in ["INSERT INTO t VALUES ('x')", "SELECT pg_switch_wal()", "CHECKPOINT"] {
            fixture.sql.batch_execute(sql).await.expect(sql);
        }
        let sql = "SELECT wal_status = 'lost' FROM pg_replication_slots WHERE slot_name = $1";
        lost = fixture.sql.query_one(sql, &[&fixture.slot]).await.expect("the slot").get(0);
        if lost {
            break;
        }
    }
    assert!(lost, "the slot still has its WAL");
    let error = refused_start(&fixture).await;
    assert!(!error.is_retryable() && error.is_slot_invalidated(), "{error}");
}
