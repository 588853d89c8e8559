//! Start, stop, kill, pause and restart of a PostgreSQL server.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::OnceLock;

use testbed::Postgres;

fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| Postgres::start().unwrap())
}

fn holds(postgres: &Postgres, database: &str, condition: &str) {
    let sql = format!("DO $$ BEGIN ASSERT {condition}; END $$");
    postgres.execute(database, &sql).unwrap();
}

#[test]
fn killed_server_restarts_on_the_same_port_with_its_data() {
    let postgres = Postgres::start().unwrap();
    let url = postgres.url("postgres");
    postgres.execute("postgres", "CREATE TABLE kept (id int)").unwrap();
    postgres.execute("postgres", "INSERT INTO kept VALUES (1)").unwrap();

    postgres.kill().unwrap();
    assert!(!postgres.is_running());
    assert!(postgres.execute("postgres", "SELECT 1").is_err());
    postgres.start_again().unwrap();
    holds(&postgres, "postgres", "(SELECT count(*) = 1 FROM kept)");
    assert_eq!(postgres.url("postgres"), url);

    postgres.stop().unwrap();
    assert!(!postgres.is_running());
    postgres.start_again().unwrap();
    holds(&postgres, "postgres", "(SELECT count(*) = 1 FROM kept)");
    postgres.restart().unwrap();
    holds(&postgres, "postgres", "(SELECT count(*) = 1 FROM kept)");
}

#[test]
fn dropped_server_leaves_neither_process_nor_directory() {
    let postgres = Postgres::start().unwrap();
    let (pid, data) = (postgres.pid().unwrap(), postgres.data_dir().to_path_buf());
    assert!(data.exists());
    drop(postgres);
    assert!(!data.exists());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn paused_server_answers_once_resumed() {
    let postgres = Postgres::start().unwrap();
    postgres.pause().unwrap();
    assert!(postgres.is_running());
    std::thread::scope(|scope| {
        let query = scope.spawn(|| postgres.execute("postgres", "SELECT 1"));
        assert!(!query.is_finished());
        postgres.resume().unwrap();
        query.join().unwrap().unwrap();
    });
    // Stopping and killing work on a paused server too.
    postgres.pause().unwrap();
    postgres.restart().unwrap();
    postgres.pause().unwrap();
    postgres.kill().unwrap();
    assert!(!postgres.is_running());
}

#[test]
fn prepared_server_has_its_port_before_it_runs() {
    let postgres = Postgres::builder().prepare().unwrap();
    let port = postgres.port();
    assert!(!postgres.is_running());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    postgres.start_again().unwrap();
    assert_eq!(postgres.port(), port);
    holds(&postgres, "postgres", &format!("current_setting('port') = '{port}'"));
}

#[test]
fn server_allows_logical_replication_on_the_loopback_only() {
    let postgres = shared();
    holds(postgres, "postgres", "current_setting('wal_level') = 'logical'");
    holds(postgres, "postgres", "current_setting('listen_addresses') = '127.0.0.1'");
    holds(postgres, "postgres", "current_setting('fsync') = 'off'");
    holds(postgres, "postgres", "current_setting('password_encryption') = 'scram-sha-256'");
    holds(
        postgres,
        "postgres",
        &format!("current_setting('server_version_num')::int / 10000 = {}", postgres.version()),
    );
    postgres.execute("postgres", "CREATE EXTENSION pg_stat_statements").unwrap();
    holds(postgres, "postgres", "(SELECT count(*) > 0 FROM pg_stat_statements)");
}

#[test]
fn wrong_password_is_rejected() {
    let url = shared().url("postgres").replace("postrider@", "wrong@");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(tokio_postgres::connect(&url, tokio_postgres::NoTls)).err().unwrap();
    assert_eq!(error.code(), Some(&tokio_postgres::error::SqlState::INVALID_PASSWORD));
}

#[test]
fn create_database_returns_distinct_names_also_inside_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (one, other) =
            (shared().create_database("orders").unwrap(), shared().create_database("orders").unwrap());
        assert_ne!(one, other);
        holds(shared(), &one, &format!("current_database() = '{one}'"));
    });
}

#[test]
fn builder_settings_override_defaults_and_tls_is_one_call() {
    let postgres = Postgres::builder()
        .version(15)
        .setting("wal_sender_timeout", "2s")
        .setting("max_connections", "30")
        .fsync(true)
        .tls(true)
        .start()
        .unwrap();
    assert_eq!(postgres.version(), 15);
    assert!(postgres.certificate().unwrap().exists());
    for (setting, value) in
        [("wal_sender_timeout", "2s"), ("max_connections", "30"), ("fsync", "on"), ("ssl", "on")]
    {
        holds(&postgres, "postgres", &format!("current_setting('{setting}') = '{value}'"));
    }
}

#[test]
fn start_error_contains_the_end_of_the_log() {
    let error = Postgres::builder().setting("max_connections", "nonsense").start().unwrap_err().to_string();
    assert!(error.contains("invalid value for parameter \"max_connections\""), "{error}");
}
