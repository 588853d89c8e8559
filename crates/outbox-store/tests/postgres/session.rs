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

/// Settings of a role or a database that would break a session or change the meaning of its statements.
const HOSTILE: [(&str, &str); 16] = [
    ("default_transaction_read_only", "on"),
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_deferrable", "on"),
    ("statement_timeout", "5ms"),
    ("lock_timeout", "1ms"),
    ("idle_in_transaction_session_timeout", "1ms"),
    ("idle_session_timeout", "1ms"),
    ("search_path", "shadow, public, pg_catalog"),
    ("DateStyle", "German"),
    ("IntervalStyle", "sql_standard"),
    ("bytea_output", "escape"),
    ("extra_float_digits", "-15"),
    ("standard_conforming_strings", "off"),
    ("quote_all_identifiers", "on"),
    ("client_encoding", "LATIN1"),
    ("array_nulls", "off"),
];

#[tokio::test]
async fn settings_of_the_database_and_of_the_url_do_not_reach_a_session() {
    let mut fixture = Fixture::set_up().await;
    for (name, value) in HOSTILE {
        // search_path is a list; a quoted value would be one name.
        let value = if name == "search_path" { value.to_owned() } else { format!("'{value}'") };
        fixture.execute(&format!("alter database {} set {name} = {value}", fixture.database)).await;
    }
    let mut config: tokio_postgres::Config = server().url(&fixture.database).parse().expect("a URL");
    config.options("-c search_path=public -c statement_timeout=5ms -c default_transaction_read_only=on");
    fixture.session = connect(&config, &tls()).await.expect("it may log in");
    assert_eq!(fixture.check().await.problems, []);
    assert!(fixture.init().await.iter().all(|line| line.starts_with("found ")));
}

#[tokio::test]
async fn functions_and_operators_in_schemas_of_users_are_not_called() {
    let mut fixture = Fixture::set_up().await;
    fixture
        .execute(&format!(
            "create function public.to_jsonb(pg_publication_tables) returns jsonb language plpgsql as
                 $$ begin raise exception 'to_jsonb was called'; end $$;
             create function public.to_jsonb(pg_replication_slots) returns jsonb language plpgsql as
                 $$ begin raise exception 'to_jsonb was called'; end $$;
             create function public.same_text(name, text) returns boolean language plpgsql as
                 $$ begin raise exception 'an operator was called'; end $$;
             create operator public.= (leftarg = name, rightarg = text, function = public.same_text);
             alter database {} set search_path = public, pg_catalog",
            fixture.database
        ))
        .await;
    fixture.session = fixture.connect().await;
    assert_eq!(fixture.check().await.problems, []);
    assert!(fixture.init().await.iter().all(|line| line.starts_with("found ")));
}
