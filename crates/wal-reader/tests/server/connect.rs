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

/// A free port of the loopback interface.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|reader| reader.local_addr()).expect("a port").port()
}

#[tokio::test]
async fn connect_authenticates_with_scram_and_identifies_the_server() {
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
async fn client_remains_usable_after_a_server_error() {
    let mut client = try_connect(&config()).await.expect("a connection");
    let error = client.show("no_such_setting").await.expect_err("the setting does not exist");
    assert!(
        !error.is_retryable() && error.sqlstate() == Some("42704") && !error.is_slot_missing(),
        "{error}"
    );
    assert_eq!(client.show("wal_level").await.expect("a setting"), "logical");
}

#[tokio::test]
async fn connect_supports_md5_and_cleartext_passwords() {
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
async fn connect_supports_unix_sockets() {
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
async fn connect_tries_hosts_in_order() {
    let mut config = Config::new();
    config.user("postgres").password(shared().password()).dbname("postgres");
    config
        .host("/nowhere")
        .port(1)
        .host("localhost")
        .port(closed_port())
        .host("127.0.0.1")
        .port(shared().port());
    try_connect(&config).await.expect("the third host").identify_system().await.expect("an identity");
}

#[tokio::test]
async fn connect_error_lists_every_host_and_is_retryable() {
    let (first, second) = (closed_port(), closed_port());
    let mut config = Config::new();
    config.user("postgres").host("127.0.0.1").port(first).host("127.0.0.1").port(second);
    let error = try_connect(&config).await.expect_err("both ports are closed");
    assert!(error.is_retryable(), "{error}");
    for port in [first, second] {
        assert!(error.to_string().contains(&format!("127.0.0.1:{port}: cannot connect")), "{error}");
    }
}

#[tokio::test]
async fn connect_checks_target_session_attrs_and_mismatch_is_retryable() {
    let mut config = config();
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    try_connect(&config).await.expect("the session is read-write");
    config.options("-c default_transaction_read_only=on");
    try_connect(&config).await.expect("the session sets it off");
    config.target_session_attrs(TargetSessionAttrs::ReadOnly);
    let error = try_connect(&config).await.expect_err("the session is read-write");
    assert!(error.is_retryable() && error.to_string().contains("read-only"), "{error}");
}

#[tokio::test]
async fn connect_times_out_on_a_silent_server() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut config = Config::new();
    config.user("postgres").host("127.0.0.1").port(silent.local_addr().expect("a port").port());
    config.connect_timeout(Duration::from_millis(200));
    let error = try_connect(&config).await.expect_err("the server is silent");
    assert!(error.is_retryable() && error.to_string().contains("connect_timeout"), "{error}");
}

#[tokio::test]
async fn connect_without_a_host_is_not_retryable() {
    let error = try_connect(Config::new().user("postgres")).await.expect_err("no host is configured");
    assert!(!error.is_retryable() && error.remedy().is_some(), "{error}");
}

#[tokio::test]
async fn settings_of_the_database_and_of_the_url_do_not_reach_a_session() {
    let database = shared().create_database("settings").expect("a database");
    let hostile = "default_transaction_read_only = on; default_transaction_isolation = serializable; \
                   statement_timeout = '5ms'; lock_timeout = '1ms'; search_path = public; DateStyle = 'German'; \
                   client_encoding = 'LATIN1'; idle_session_timeout = '1ms'";
    for setting in hostile.split("; ") {
        shared().execute("postgres", &format!("ALTER DATABASE {database} SET {setting}")).expect("it is set");
    }
    let mut config: Config = shared().url(&database).parse().expect("a URL");
    config
        .options("-c search_path=public -c lock_timeout=1ms")
        .target_session_attrs(TargetSessionAttrs::ReadWrite);
    let mut client = try_connect(&config).await.expect("the session is read-write");
    for (name, value) in [
        ("search_path", "pg_catalog"),
        ("default_transaction_isolation", "read committed"),
        ("lock_timeout", "0"),
        ("statement_timeout", "0"),
        ("client_encoding", "UTF8"),
    ] {
        assert_eq!(client.show(name).await.expect("a setting"), value, "{name}");
    }
}
