use outbox::Lsn;
use outbox_store::{connect, slot_state, wal_flush_position};
use testbed::Postgres;

use crate::fixture::{Fixture, server, tls};

#[tokio::test]
async fn wrong_password_is_not_retryable_and_not_in_the_error() {
    let mut config: tokio_postgres::Config = server().url("postgres").parse().expect("a URL");
    config.password("hunter2");
    let error = connect(&config, &tls()).await.expect_err("it is wrong");
    assert!(!error.is_retryable());
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    assert!(error.to_string().contains("check the user and the password in postgres.url"), "{error}");
}

#[tokio::test]
async fn no_password_and_no_database_are_definite() {
    let mut config: tokio_postgres::Config =
        format!("host=127.0.0.1 port={} user=postgres", server().port()).parse().expect("a configuration");
    assert!(!connect(&config, &tls()).await.expect_err("a password is asked for").is_retryable());
    config.password(server().password()).dbname("not_there");
    let error = connect(&config, &tls()).await.expect_err("it is not there");
    assert!(!error.is_retryable(), "{error}");
}

#[tokio::test]
async fn a_server_that_is_away_is_transient() {
    let server = Postgres::start().expect("PostgreSQL starts");
    let config: tokio_postgres::Config = server.url("postgres").parse().expect("a URL");
    let session = connect(&config, &tls()).await.expect("the server is there");
    server.stop().expect("it stops");
    let error = wal_flush_position(&session).await.expect_err("the connection is lost");
    assert!(error.is_retryable(), "{error}");
    let error = connect(&config, &tls()).await.expect_err("no server listens");
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test]
async fn tls_without_a_trusted_certificate_is_not_retryable() {
    let server = Postgres::builder().tls(true).start().expect("PostgreSQL starts");
    let mut config: tokio_postgres::Config = server.url("postgres").parse().expect("a URL");
    config.ssl_mode(tokio_postgres::config::SslMode::Require);
    let error = connect(&config, &tls()).await.expect_err("the certificate is not trusted");
    assert!(!error.is_retryable(), "{error}");
}

#[tokio::test]
async fn positions_and_the_slot_are_read() {
    let fixture = Fixture::set_up().await;
    let before = wal_flush_position(&fixture.session).await.expect("it is read");
    fixture.execute("insert into outbox (id, aggregate_type, aggregate_id, event_type) values (gen_random_uuid(), 'a', 'b', 'c')").await;
    let after = wal_flush_position(&fixture.session).await.expect("it is read");
    assert!(after > before && before > Lsn::ZERO);
    let state =
        slot_state(&fixture.session, &fixture.names.slot).await.expect("it is read").expect("it is there");
    assert!(!state.active);
    assert_eq!(state.wal_status.as_deref(), Some("reserved"));
    assert!(state.confirmed_flush_lsn.is_some_and(|confirmed| confirmed <= after));
    assert!(state.retained_bytes > 0);
    assert_eq!(slot_state(&fixture.session, "not_there").await.expect("it is asked"), None);
}
