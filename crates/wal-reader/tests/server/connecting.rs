use std::net::TcpListener;
use std::time::Duration;

use tokio_postgres::NoTls;
use tokio_postgres::config::{Config, TargetSessionAttrs};
use wal_reader::{Error, ReplicationClient, connect};

use crate::support::{shared, within};

fn config() -> Config {
    shared().url("postgres").parse().expect("a URL")
}

async fn try_connect(config: &Config) -> Result<ReplicationClient, Error> {
    within("an answer", connect(config, NoTls)).await
}

/// A port of the loopback that nobody listens on.
fn dead_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

#[tokio::test]
async fn scram_over_tcp_gives_a_client_that_knows_its_server() {
    let mut client = try_connect(&config()).await.expect("a connection");
    let version = client.parameter("server_version").expect("a version").to_owned();
    assert!(version.starts_with(&shared().version().to_string()), "{version}");
    let identity = client.identify_system().await.expect("an identity");
    assert_eq!(identity.database.as_deref(), Some("postgres"));
    assert_eq!(identity.timeline, 1);
    assert!(identity.system_id.parse::<u64>().is_ok(), "{identity:?}");
    assert!(identity.flush_lsn > outbox::Lsn::ZERO);
    assert_eq!(client.show("wal_sender_timeout").await.expect("a setting"), "1min");
    assert_eq!(client.show("wal_level").await.expect("a setting"), "logical");
    client.close().await;
}

#[tokio::test]
async fn a_refused_command_leaves_the_connection_usable() {
    let mut client = try_connect(&config()).await.expect("a connection");
    let error = client.show("no_such_setting").await.expect_err("there is none");
    assert!(
        !error.is_retryable() && error.sqlstate() == Some("42704") && !error.is_slot_missing(),
        "{error}"
    );
    assert_eq!(client.show("wal_level").await.expect("a setting"), "logical");
}

#[tokio::test]
async fn md5_and_clear_text_passwords_are_sent_where_the_server_asks_for_them() {
    for (role, encryption) in [("md5_role", "md5"), ("clear_role", "scram-sha-256")] {
        let sql = format!(
            "SET password_encryption = '{encryption}'; CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'gehe''im'"
        );
        shared().execute("postgres", &sql).expect("a role");
        let mut config = config();
        config.user(role).password("gehe'im");
        try_connect(&config).await.expect(role).identify_system().await.expect("an identity");
        config.password("wrong");
        let error = try_connect(&config).await.expect_err("the password is wrong");
        assert!(!error.is_retryable() && error.sqlstate() == Some("28P01"), "{error}");
    }
}

#[tokio::test]
async fn a_unix_socket_is_as_good_as_tcp() {
    let mut config = Config::new();
    config
        .host_path(shared().socket_dir())
        .port(shared().port())
        .user("postgres")
        .password(shared().password());
    config.dbname("postgres");
    try_connect(&config).await.expect("a connection").identify_system().await.expect("an identity");
}

#[tokio::test]
async fn hosts_are_tried_in_order_until_one_answers() {
    let mut config = Config::new();
    config.user("postgres").password(shared().password()).dbname("postgres");
    config
        .host("/nowhere")
        .port(1)
        .host("localhost")
        .port(dead_port())
        .host("127.0.0.1")
        .port(shared().port());
    try_connect(&config).await.expect("the third host").identify_system().await.expect("an identity");
}

#[tokio::test]
async fn when_no_host_answers_the_error_names_each_and_may_pass() {
    let (first, second) = (dead_port(), dead_port());
    let mut config = Config::new();
    config.user("postgres").host("127.0.0.1").port(first).host("127.0.0.1").port(second);
    let error = try_connect(&config).await.expect_err("nobody listens");
    assert!(error.is_retryable(), "{error}");
    for port in [first, second] {
        assert!(error.to_string().contains(&format!("127.0.0.1:{port}: cannot connect")), "{error}");
    }
}

#[tokio::test]
async fn a_server_of_the_wrong_kind_is_passed_over_and_may_change() {
    let mut config = config();
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    try_connect(&config).await.expect("this one is read-write");
    config.options("-c default_transaction_read_only=on");
    let error = try_connect(&config).await.expect_err("this one is not");
    assert!(error.is_retryable() && error.to_string().contains("read-write"), "{error}");
    config.target_session_attrs(TargetSessionAttrs::ReadOnly);
    try_connect(&config).await.expect("it is read-only");
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_given_up_after_connect_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut config = Config::new();
    config.user("postgres").host("127.0.0.1").port(silent.local_addr().expect("a port").port());
    config.connect_timeout(Duration::from_millis(200));
    let error = try_connect(&config).await.expect_err("it says nothing");
    assert!(error.is_retryable() && error.to_string().contains("connect_timeout"), "{error}");
}

#[tokio::test]
async fn a_configuration_without_a_host_is_a_definite_error() {
    let error = try_connect(Config::new().user("postgres")).await.expect_err("there is no host");
    assert!(!error.is_retryable() && error.remedy().is_some(), "{error}");
}
