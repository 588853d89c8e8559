//! Database, slot, topics and settings of one test.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use postgres::{Client, NoTls};
use tempfile::TempDir;
use testbed::{Kafka, Postgres};
use uuid::Uuid;

use crate::relay::Relay;
use crate::rows::{NewRow, Row, read_rows};
use crate::servers::{shared_kafka, shared_postgres};
use crate::{Record, read_records};

/// A database with an outbox, a slot and topics of its own. Dropping it drops the slots.
pub struct Stage<'a> {
    postgres: &'a Postgres,
    kafka: &'a Kafka,
    database: String,
    name: String,
    settings: Vec<(String, String)>,
    directory: TempDir,
}

/// Builds a [`Stage`].
pub struct StageBuilder<'a> {
    postgres: Option<&'a Postgres>,
    kafka: Option<&'a Kafka>,
    settings: Vec<(String, String)>,
    partitioned: bool,
}

impl<'a> StageBuilder<'a> {
    /// On a PostgreSQL of the test's own.
    pub fn postgres(mut self, postgres: &'a Postgres) -> Self {
        self.postgres = Some(postgres);
        self
    }

    /// On a Kafka of the test's own.
    pub fn kafka(mut self, kafka: &'a Kafka) -> Self {
        self.kafka = Some(kafka);
        self
    }

    /// With receipts, so that rows become COMPLETE, and with deadlines of two seconds.
    pub fn whole_life(self) -> Self {
        self.setting("POSTRIDER_RECEIPTS_ENABLED", "true")
            .setting("POSTRIDER_RECONCILE_INIT_AFTER", "2s")
            .setting("POSTRIDER_RECONCILE_PUBLISH_AFTER", "2s")
    }

    /// With a setting of the relay (`POSTRIDER_…`).
    pub fn setting(mut self, variable: &str, value: &str) -> Self {
        self.settings.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// With an outbox in monthly partitions.
    pub fn partitioned(mut self) -> Self {
        self.partitioned = true;
        self
    }

    /// Creates the database and runs `postrider init` in it.
    pub fn build(self) -> Stage<'a> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let postgres = self.postgres.unwrap_or_else(|| shared_postgres());
        let stage = Stage {
            postgres,
            kafka: self.kafka.unwrap_or_else(|| shared_kafka()),
            database: postgres.create_database(&name).expect("a database is created"),
            settings: self.settings,
            directory: TempDir::new().expect("a directory"),
            name,
        };
        let partitioned = self.partitioned.then_some("--partitioned");
        let arguments: Vec<_> = ["init"].into_iter().chain(partitioned).collect();
        let init = stage.postrider(&arguments);
        assert!(init.status.success(), "init: {}", String::from_utf8_lossy(&init.stderr));
        stage
    }
}

impl<'a> Stage<'a> {
    /// On the shared servers.
    pub fn new() -> Self {
        Stage::builder().build()
    }

    /// To choose servers and settings.
    pub fn builder() -> StageBuilder<'a> {
        let builder = StageBuilder { postgres: None, kafka: None, settings: Vec::new(), partitioned: false };
        // Rows stay PUBLISH unless the test uses `whole_life`.
        builder.setting("POSTRIDER_RECEIPTS_ENABLED", "false")
    }

    /// Starts `postrider run`.
    pub fn relay(&self) -> Relay {
        self.relay_with(&[])
    }

    /// Starts `postrider run` with further settings.
    pub fn relay_with(&self, settings: &[(&str, &str)]) -> Relay {
        let mut command = self.command();
        command.arg("run").envs(settings.iter().copied());
        Relay::spawn(command, self.directory.path())
    }

    /// Runs another command of the binary and waits for its end.
    pub fn postrider(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().expect("postrider runs")
    }

    /// Runs another command of the binary, which must succeed, and returns its standard output.
    pub fn stdout_of(&self, arguments: &[&str]) -> String {
        let output = self.postrider(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "postrider {arguments:?}: {errors}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Starts another command of the binary; its output is collected like a relay's log.
    pub fn begin(&self, arguments: &[&str]) -> Relay {
        let mut command = self.command();
        command.args(arguments);
        Relay::spawn(command, self.directory.path())
    }

    /// The broker.
    pub fn kafka(&self) -> &Kafka {
        self.kafka
    }

    /// A connection to the database.
    pub fn client(&self) -> Client {
        Client::connect(&self.postgres.url(&self.database), NoTls).expect("the database can be reached")
    }

    /// A connection URL of another role.
    pub fn url_as(&self, role: &str, password: &str) -> String {
        let (host, port) = (self.postgres.host(), self.postgres.port());
        format!("postgres://{role}:{password}@{host}:{port}/{}", self.database)
    }

    /// The name of the slot.
    pub fn slot(&self) -> &str {
        &self.name
    }

    /// Runs a statement between dropping and creating the slot, so that the slot does not bring the rows that the
    /// statement inserts. No relay may run.
    pub fn remake_slot(&self, after: &str) {
        let mut client = self.client();
        client.execute("select pg_drop_replication_slot($1)", &[&self.name]).expect("the slot is dropped");
        client.batch_execute(after).expect("the statement is run");
        let make = "select pg_create_logical_replication_slot($1, 'pgoutput')";
        client.execute(make, &[&self.name]).expect("the slot is created");
    }

    /// The topic of an aggregate type.
    pub fn topic(&self, aggregate_type: &str) -> String {
        format!("{}.{aggregate_type}", self.topic_prefix())
    }

    /// Creates a topic of an aggregate type before the relay does.
    pub fn create_topic(&self, aggregate_type: &str, partitions: i32, configs: &[(&str, &str)]) {
        self.kafka
            .create_topic(&self.topic(aggregate_type), partitions, configs)
            .expect("a topic is created");
    }

    /// Commits one row in a transaction of its own.
    pub fn insert(&self, row: &NewRow) {
        row.insert(&mut self.client()).expect("a row is inserted");
    }

    /// Every row of the outbox.
    pub fn rows(&self) -> Vec<Row> {
        read_rows(&mut self.client())
    }

    /// The row of an id.
    pub fn row(&self, id: Uuid) -> Row {
        let rows = self.rows();
        rows.into_iter().find(|row| row.id == id).unwrap_or_else(|| panic!("row {id} is there"))
    }

    /// The number of rows with this status.
    pub fn count(&self, status: &str) -> i64 {
        let sql = "select count(*) from outbox where status = $1";
        self.client().query_one(sql, &[&status]).expect("rows are counted").get(0)
    }

    /// Every record of the topics of this stage, in the order of each partition.
    pub fn records(&self) -> Vec<Record> {
        read_records(self.kafka.brokers(), &self.topic_prefix())
    }

    /// The number of records written back, from `postrider.progress`: cheaper than counting a million rows.
    pub fn written_back(&self) -> i64 {
        let sql = "select coalesce(sum(\"offset\" + 1), 0)::int8 from postrider.progress where slot = $1";
        self.client().query_one(sql, &[&self.name]).expect("progress is read").get(0)
    }

    /// The slot's `confirmed_flush_lsn`, in bytes.
    pub fn confirmed(&self) -> i64 {
        let sql = "select (confirmed_flush_lsn - '0/0')::int8 from pg_replication_slots where slot_name = $1";
        self.client().query_one(sql, &[&self.name]).expect("the slot is there").get(0)
    }

    /// The pid of the WAL sender that serves the slot, if it is active.
    pub fn sender(&self) -> Option<i32> {
        let sql = "select active_pid from pg_replication_slots where slot_name = $1";
        self.client().query_one(sql, &[&self.name]).expect("the slot is there").get(0)
    }

    /// `pg_current_wal_lsn()`, in bytes.
    pub fn log_end(&self) -> i64 {
        let sql = "select (pg_current_wal_lsn() - '0/0')::int8";
        self.client().query_one(sql, &[]).expect("the end of the WAL is read").get(0)
    }

    fn topic_prefix(&self) -> String {
        format!("{}-{}", self.name, self.database)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command
            .current_dir(self.directory.path())
            .env("POSTRIDER_POSTGRES_URL", self.postgres.url(&self.database))
            .env("POSTRIDER_KAFKA_BROKERS", self.kafka.brokers())
            .env("POSTRIDER_POSTGRES_SLOT", &self.name)
            .env("POSTRIDER_ROUTING_TOPIC", format!("{}.{{aggregate_type}}", self.topic_prefix()))
            .envs(self.settings.iter().map(|(variable, value)| (variable, value)));
        command
    }
}

impl Default for Stage<'_> {
    fn default() -> Self {
        Stage::new()
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for number in 0.. {
                let log = self.directory.path().join(format!("relay-{number}.log"));
                let Ok(log) = fs::read_to_string(log) else { break };
                eprintln!("--- the log of relay {number}:\n{log}");
            }
            eprintln!("--- Kafka's log:\n{}", self.kafka.log_tail(40));
            eprintln!("--- PostgreSQL's log:\n{}", self.postgres.log_tail(20));
        }
        let Ok(mut client) = Client::connect(&self.postgres.url(&self.database), NoTls) else { return };
        let slots = "from pg_replication_slots where database = current_database()";
        let end = format!("select pg_terminate_backend(active_pid) {slots} and active");
        let drop = format!("select pg_drop_replication_slot(slot_name) {slots} and not active");
        let left = format!("select {slots}");
        // Best effort: a slot left behind retains WAL only until its server ends with the tests.
        for _ in 0..100 {
            let _ = client.execute(&end, &[]);
            let _ = client.execute(&drop, &[]);
            if matches!(client.execute(&left, &[]), Ok(0)) {
                return;
            }
        }
    }
}

/// The binary in the directory of the test binary, or in the one above if that is `deps`.
fn binary() -> PathBuf {
    let tests = std::env::current_exe().expect("the test binary has a path");
    let mut directories = tests.ancestors().skip(1).take(2);
    directories
        .find_map(|directory| Some(directory.join("postrider")).filter(|path: &PathBuf| path.exists()))
        .expect("postrider is in the target directory: run script/test, or cargo build --release first")
}
