//! A table, the evidence of a broker, a main loop, and the reconciler between them.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use openssl::ssl::{SslConnector, SslMethod};
use outbox::{Lsn, RecordAtOffset};
use outbox_store::{Database, Names, Shape, Tls, apply, connect, inspect, plan};
use reconciler::{
    DeadlineTracker, QueuedCommand, ReconcileOptions, ResendCause, ResendCommand, ResendIntake,
    ResendOutcome, ResendQueue, StartupScan, reconcile, resend_queue,
};
use testbed::Postgres;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::kafka::Kafka;

fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::start().expect("PostgreSQL starts"))
}

/// Everything that the WAL contains is settled.
pub(crate) const ALL: Lsn = Lsn::from_u64(u64::MAX - 1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Sent(u128),
    Completed(u128),
    GaveUp(u128, String),
}

pub(crate) struct Fixture {
    pub(crate) sql: Arc<Client>,
    pub(crate) names: Names,
    pub(crate) kafka: Kafka,
    pub(crate) deadlines: DeadlineTracker,
    pub(crate) startup: StartupScan,
    pub(crate) options: ReconcileOptions,
    commands: Arc<Mutex<Vec<Command>>>,
    database: Database,
    settled: Option<Arc<watch::Sender<Lsn>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Fixture {
    pub(crate) async fn new(init_after: Duration, publish_after: Duration) -> Fixture {
        let name = server().create_database("stuck").expect("a database is created");
        let config: tokio_postgres::Config = server().url(&name).parse().expect("a URL");
        let (sql, connection) = config.connect(NoTls).await.expect("PostgreSQL runs");
        tokio::spawn(connection);
        let tls = Tls::new(SslConnector::builder(SslMethod::tls_client()).expect("OpenSSL works").build());
        let names = Names { slot: format!("slot_{name}"), ..Names::default() };
        let session = connect(&config, &tls).await.expect("PostgreSQL runs");
        let found = inspect(&session, &names).await.expect("the catalog is read");
        apply(&session, &plan(&found, &names, true, Shape::Plain), |_| {}).await.expect("init succeeds");
        sql.batch_execute("create extension if not exists pg_stat_statements")
            .await
            .expect("the extension is installed");
        Fixture {
            sql: Arc::new(sql),
            kafka: Kafka::default(),
            deadlines: DeadlineTracker::new(init_after, Some(publish_after)),
            startup: StartupScan::default(),
            options: ReconcileOptions { init_after, publish_after: Some(publish_after), attempts_max: None },
            commands: Arc::default(),
            database: Database { config, tls, names: names.clone() },
            names,
            settled: None,
            tasks: Vec::new(),
        }
    }

    /// Starts a session in which everything before `settled` is settled.
    pub(crate) async fn start(&mut self, settled: Lsn) {
        let (resends, ResendIntake { commands, settled: settled_sender }) = resend_queue(4);
        settled_sender.send_replace(settled);
        self.settled = Some(Arc::new(settled_sender));
        let main_loop =
            MainLoop { sql: self.sql.clone(), kafka: self.kafka.clone(), commands: self.commands.clone() };
        self.tasks.push(tokio::spawn(main_loop.run(commands)));
        self.tasks.push(tokio::spawn(self.reconcile(resends)));
    }

    fn reconcile(&self, resends: ResendQueue) -> impl Future<Output = ()> + Send + use<> {
        reconcile(
            self.database.clone(),
            self.kafka.clone(),
            self.options.clone(),
            self.deadlines.clone(),
            self.startup.clone(),
            resends,
            Lsn::from_u64(1),
        )
    }

    pub(crate) fn settle(&self, up_to: Lsn) {
        self.settled.as_ref().expect("it was started").send_replace(up_to);
    }

    /// Closes the session. The reconciler has to end by itself.
    pub(crate) async fn close_session(&mut self) {
        self.tasks.remove(0).abort();
        self.settled = None;
        let reconciler = self.tasks.remove(0);
        tokio::time::timeout(Duration::from_secs(20), reconciler)
            .await
            .expect("it ends")
            .expect("it does not panic");
    }

    pub(crate) async fn insert(&self, id: u128, set: &str) {
        let id = Uuid::from_u128(id);
        self.execute(&format!(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload) values ('{id}', 'order', '7', 'placed', '{{}}');
             update outbox set {set} where id = '{id}'"
        ))
        .await;
    }

    /// A PUBLISH row with this position, sent `attempts` times, the last time `seconds` ago.
    pub(crate) async fn published(&self, id: u128, partition: i32, offset: i64, seconds: u32, attempts: u32) {
        let ago = format!("now() - interval '{seconds} s'");
        let set = format!(
            "status = 'PUBLISH', created_at = {ago}, published_at = {ago}, last_attempt_at = {ago}, attempts = {attempts},
             kafka_topic = 't', kafka_partition = {partition}, kafka_offset = {offset}"
        );
        self.insert(id, &set).await;
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.sql.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.sql.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    /// The number of queries for stuck rows.
    pub(crate) async fn queries(&self) -> i64 {
        self.statements("not exists (select from postrider.held").await
    }

    /// The number of them that summarised PUBLISH rows.
    pub(crate) async fn summaries(&self) -> i64 {
        self.statements("from suspect").await
    }

    async fn statements(&self, like: &str) -> i64 {
        self.number(&format!(
            "select coalesce(sum(calls), 0)::int8 from pg_stat_statements
             where dbid = (select oid from pg_database where datname = current_database())
                 and query like '%{like}%' and query not like '%pg_stat_statements%'"
        ))
        .await
    }

    /// Starts a session and waits for the end of the startup scan.
    pub(crate) async fn started(&mut self) {
        let before = self.summaries().await;
        self.start(ALL).await;
        self.wait_until("the startup scan is over", async |fixture| fixture.summaries().await > before).await;
    }

    pub(crate) async fn database_now_us(&self) -> i64 {
        self.number("select (extract(epoch from clock_timestamp()) * 1000000)::int8").await
    }

    pub(crate) fn commands(&self) -> Vec<Command> {
        self.commands.lock().expect("not poisoned").clone()
    }

    pub(crate) async fn wait_until(&self, what: &str, mut is_so: impl AsyncFnMut(&Fixture) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_so(self).await {
            assert!(Instant::now() < deadline, "{what}; {:?}", self.commands());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn wait_for(&self, expected: &[Command]) {
        self.wait_until(&format!("{expected:?} expected"), async |fixture| {
            fixture.commands().len() >= expected.len()
        })
        .await;
        assert_eq!(self.commands(), expected);
    }
}

/// Executes commands: updates the rows, and appends records to partition 9.
struct MainLoop {
    sql: Arc<Client>,
    kafka: Kafka,
    commands: Arc<Mutex<Vec<Command>>>,
}

impl MainLoop {
    async fn run(self, mut queue: tokio::sync::mpsc::Receiver<QueuedCommand>) {
        while let Some(QueuedCommand { command, done }) = queue.recv().await {
            let (sql, command) = match command {
                ResendCommand::Resend { event, cause } => {
                    assert_eq!(cause, ResendCause::Reconciler);
                    assert_eq!(event.payload.as_deref(), Some(&b"{}"[..]), "it is read whole");
                    let offset = self.kafka.append(9, RecordAtOffset::Row(event.id));
                    let sql = format!(
                        "update outbox set status = 'PUBLISH', kafka_topic = 't', kafka_partition = 9,
                             kafka_offset = {offset}, attempts = attempts + 1, last_attempt_at = now()
                         where id = '{}'",
                        event.id
                    );
                    (sql, Command::Sent(event.id.as_u128()))
                }
                ResendCommand::Complete { id, .. } => (
                    format!("update outbox set status = 'COMPLETE' where id = '{id}'"),
                    Command::Completed(id.as_u128()),
                ),
                ResendCommand::GiveUp { id, reason } => (
                    format!("update outbox set status = 'FAILED' where id = '{id}'"),
                    Command::GaveUp(id.as_u128(), reason),
                ),
                ResendCommand::Skip { .. } => panic!("the reconciler skips nothing"),
            };
            self.sql.batch_execute(&sql).await.expect("the row is updated");
            self.commands.lock().expect("not poisoned").push(command);
            let _ = done.send(ResendOutcome::Done);
        }
    }
}
