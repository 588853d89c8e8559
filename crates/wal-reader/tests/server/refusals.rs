//! What a server refuses: which errors last, and what they tell whoever reads them.

use testbed::Postgres;
use tokio_postgres::{Config, NoTls};
use wal_reader::{Change, Error, connect};

use crate::support::{Listener, Place, shared, within};

async fn refused(config: &Config) -> Error {
    let error = within("an answer", connect(config, NoTls)).await.expect_err("it is refused");
    println!("{error}");
    error
}

async fn refused_start(place: &Place) -> Error {
    let client = connect(&place.config, NoTls).await.expect("a connection");
    let error =
        within("an answer", client.start_replication(&place.start())).await.expect_err("it is refused");
    println!("{error}");
    error
}

fn config() -> Config {
    shared().url("postgres").parse().expect("a URL")
}

#[tokio::test]
async fn a_wrong_password_is_definite_and_not_repeated() {
    let mut config = config();
    config.password("hunter2");
    let error = refused(&config).await;
    assert!(!error.is_retryable() && error.sqlstate() == Some("28P01"), "{error}");
    assert!(error.to_string().contains("correct the user name or the password"), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn a_missing_password_is_definite() {
    let mut config = Config::new();
    config.host("127.0.0.1").port(shared().port()).user("postgres").dbname("postgres");
    let error = refused(&config).await;
    assert!(!error.is_retryable() && error.to_string().contains("set the password"), "{error}");
}

#[tokio::test]
async fn a_missing_database_is_definite() {
    let mut config = config();
    config.dbname("no_such_database");
    let error = refused(&config).await;
    assert!(!error.is_retryable() && error.sqlstate() == Some("3D000"), "{error}");
}

#[tokio::test]
async fn a_role_that_may_not_replicate_is_told_how_to() {
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
async fn a_role_that_may_not_connect_is_told_how_to() {
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
async fn a_role_that_pg_hba_turns_away_is_told_where_to_look() {
    shared().execute("postgres", "CREATE ROLE banned_role LOGIN REPLICATION PASSWORD 'x'").expect("a role");
    let mut config = config();
    config.user("banned_role").password("x");
    let error = refused(&config).await;
    assert!(!error.is_retryable() && error.to_string().contains("pg_hba.conf"), "{error}");
}

#[tokio::test]
async fn a_missing_slot_is_definite_and_says_how_to_create_it() {
    let mut place = Place::new(shared(), "a text").await;
    place.slot = "no_such_slot".to_owned();
    let error = refused_start(&place).await;
    assert!(!error.is_retryable() && error.is_slot_missing(), "{error}");
    assert!(
        error.to_string().contains("no_such_slot") && error.to_string().contains("postrider init"),
        "{error}"
    );
}

#[tokio::test]
async fn a_slot_of_another_database_or_plugin_or_kind_is_definite() {
    let mut place = Place::new(shared(), "a text").await;
    let other = Place::new(shared(), "a text").await;
    let sql = format!(
        "SELECT pg_create_physical_replication_slot('physical_{0}', true); SELECT pg_create_logical_replication_slot('other_{0}', 'test_decoding')",
        place.slot
    );
    let possible = place.sql.batch_execute(&sql).await.is_ok();
    let mut slots = vec![other.slot.clone()];
    // A server may come without test_decoding.
    if possible {
        slots.extend([format!("physical_{}", place.slot), format!("other_{}", place.slot)]);
    }
    for slot in slots {
        place.slot = slot;
        let error = refused_start(&place).await;
        assert!(!error.is_retryable() && !error.is_slot_missing() && !error.is_slot_invalidated(), "{error}");
    }
}

#[tokio::test]
async fn a_slot_in_use_is_waited_for_and_its_holder_named() {
    let place = Place::new(shared(), "a text").await;
    let holder = place.stream().await;
    let error = refused_start(&place).await;
    assert!(error.is_retryable() && error.is_slot_in_use(), "{error}");
    let sql = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1";
    let pid: i32 = place.sql.query_one(sql, &[&place.slot]).await.expect("the slot").get(0);
    assert!(error.to_string().contains(&pid.to_string()), "{error} but the holder is {pid}");
    holder.stream.finish().await.expect("an end");
    place.stream().await;
}

#[tokio::test]
async fn a_missing_publication_ends_the_stream_and_loses_nothing_silently() {
    let place = Place::new(shared(), "a text").await;
    // A setting of the role must not hide what PostgreSQL 18 only warns about.
    let mut start = place.start();
    start.publications = vec!["no_such_publication".to_owned()];
    let mut config = place.config.clone();
    config.options("-c client_min_messages=error");
    let client = connect(&config, NoTls).await.expect("a connection");
    let mut listener = Listener::new(client.start_replication(&start).await.expect("a stream"));
    place.sql.execute("INSERT INTO t VALUES ('x')", &[]).await.expect("a row");
    let error = loop {
        match listener.change().await {
            Ok(Change::Insert { .. }) => panic!("no publication, and still a row"),
            Ok(Change::Commit { .. }) => {
                panic!("the transaction went by without its row and without an error")
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
async fn names_may_hold_any_character() {
    let mut place = Place::new(shared(), "a text").await;
    let name = r#"it's "quoted", über"#;
    place
        .sql
        .batch_execute(r#"CREATE PUBLICATION "it's ""quoted"", über" FOR TABLE t"#)
        .await
        .expect("a publication");
    let mut start = place.start();
    start.publications.push(name.to_owned());
    let client = connect(&place.config, NoTls).await.expect("a connection");
    let mut listener = Listener::new(client.start_replication(&start).await.expect("a stream"));
    place.sql.execute("INSERT INTO t VALUES ('x')", &[]).await.expect("a row");
    place.mark("end").await;
    assert_eq!(listener.rows_until("end").await, [["a=x"]]);

    place.slot = "no 'such' slot".to_owned();
    let error = refused_start(&place).await;
    assert!(error.is_slot_missing() && error.to_string().contains(&place.slot), "{error}");
    place.slot = "zero\0byte".to_owned();
    assert!(!refused_start(&place).await.is_retryable());
}

#[tokio::test]
async fn a_server_without_logical_wal_is_told_to_have_it() {
    let server = Postgres::builder().setting("wal_level", "replica").start().expect("a server");
    let config: Config = server.url("postgres").parse().expect("a URL");
    let client = connect(&config, NoTls).await.expect("a connection");
    let start = wal_reader::StartReplication {
        slot: "s".to_owned(),
        publications: vec!["p".to_owned()],
        from: outbox::Lsn::ZERO,
    };
    let error = client.start_replication(&start).await.expect_err("wal_level");
    println!("{error}");
    assert!(
        !error.is_retryable() && error.to_string().contains("set wal_level = logical and restart"),
        "{error}"
    );
}

#[tokio::test]
async fn a_slot_whose_log_is_gone_is_definite_and_can_be_told_apart() {
    let server =
        Postgres::builder().setting("max_slot_wal_keep_size", "1MB").setting("wal_keep_size", "0").start();
    let server = server.expect("a server");
    let place = Place::new(&server, "a text").await;
    let mut lost = false;
    for _ in 0..100 {
        for sql in ["INSERT INTO t VALUES ('x')", "SELECT pg_switch_wal()", "CHECKPOINT"] {
            place.sql.batch_execute(sql).await.expect(sql);
        }
        let sql = "SELECT wal_status = 'lost' FROM pg_replication_slots WHERE slot_name = $1";
        lost = place.sql.query_one(sql, &[&place.slot]).await.expect("the slot").get(0);
        if lost {
            break;
        }
    }
    assert!(lost, "the slot still has its log");
    let error = refused_start(&place).await;
    assert!(!error.is_retryable() && error.is_slot_invalidated(), "{error}");
}
