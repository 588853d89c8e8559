//! A table, a broker, a pump, and the reconciler between them.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use openssl::ssl::{SslConnector, SslMethod};
use outbox::Lsn;
use outbox_store::{Names, Shape, Tls, apply, connect, inspect, plan};
use reconciler::{
    Account, Database, Intake, Origin, Outcome, Planned, Publisher, ReconcileOptions, RecordAt, Work,
    planning, reconcile,
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

/// The log has brought all there is, and everything is settled.
pub(crate) const ALL: Lsn = Lsn::from_u64(u64::MAX - 1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    Sent(u128),
    Completed(u128),
    GaveUp(u128, String),
}

pub(crate) struct Fixture {
    pub(crate) sql: Arc<Client>,
    pub(crate) names: Names,
    pub(crate) kafka: Kafka,
    pub(crate) account: Account,
    pub(crate) options: ReconcileOptions,
    did: Arc<Mutex<Vec<Did>>>,
    database: Database,
    settled: Option<Arc<watch::Sender<Lsn>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Fixture {
    pub(crate) async fn new(init_after: Duration, publish_after: Duration) -> Fixture {
        let name = server().create_database("stuck").expect("a database is created");
        let config: tokio_postgres::Config = server().url(&name).parse().expect("a URL");
        let (sql, connection) = config.connect(NoTls).await.expect("the server is there");
        tokio::spawn(connection);
        let tls = Tls::new(SslConnector::builder(SslMethod::tls_client()).expect("OpenSSL is there").build());
        let names = Names { slot: format!("slot_{name}"), ..Names::default() };
        let session = connect(&config, &tls).await.expect("the server is there");
        let found = inspect(&session, &names).await.expect("it can be looked at");
        apply(&session, &plan(&found, &names, true, Shape::Plain), |_| {})
            .await
            .expect("nothing is in the way");
        sql.batch_execute("create extension if not exists pg_stat_statements").await.expect("it is there");
        Fixture {
            sql: Arc::new(sql),
            kafka: Kafka::default(),
            account: Account::new(init_after, Some(publish_after)),
            options: ReconcileOptions { init_after, publish_after: Some(publish_after), attempts_max: None },
            did: Arc::default(),
            database: Database { config, tls, names: names.clone() },
            names,
            settled: None,
            tasks: Vec::new(),
        }
    }

    /// Starts the reconciler and the pump, for which everything is settled up to here.
    pub(crate) async fn start(&mut self, settled: Lsn) {
        let (publisher, intake) = planning(4);
        let Intake { planned, settled: known } = intake;
        known.send_replace(settled);
        self.settled = Some(Arc::new(known));
        let pump = Pump { sql: self.sql.clone(), kafka: self.kafka.clone(), did: self.did.clone() };
        self.tasks.push(tokio::spawn(pump.run(planned)));
        self.tasks.push(tokio::spawn(self.reconcile(publisher)));
    }

    fn reconcile(&self, publisher: Publisher) -> impl Future<Output = ()> + Send + use<> {
        let (database, kafka) = (self.database.clone(), self.kafka.clone());
        reconcile(database, kafka, self.options.clone(), self.account.clone(), publisher, Lsn::from_u64(1))
    }

    pub(crate) fn settle(&self, up_to: Lsn) {
        self.settled.as_ref().expect("it was started").send_replace(up_to);
    }

    /// Ends the life; the reconciler must notice by itself.
    pub(crate) async fn end_life(&mut self) {
        let pump = self.tasks.remove(0);
        pump.abort();
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

    /// A row that was sent, so many seconds ago and so often, and whose record is (said to be) there.
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

    /// How many questions about stuck rows the server was asked.
    pub(crate) async fn queries(&self) -> i64 {
        self.statements("not exists (select from postrider.held").await
    }

    /// How many of them summed PUBLISH rows up.
    pub(crate) async fn overviews(&self) -> i64 {
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

    /// Starts it, and waits until it has looked at what there was.
    pub(crate) async fn started(&mut self) {
        let before = self.overviews().await;
        self.start(ALL).await;
        self.wait_until("the start is over", async |fixture| fixture.overviews().await > before).await;
    }

    pub(crate) async fn database_now_us(&self) -> i64 {
        self.number("select (extract(epoch from clock_timestamp()) * 1000000)::int8").await
    }

    pub(crate) fn did(&self) -> Vec<Did> {
        self.did.lock().expect("nobody has panicked").clone()
    }

    pub(crate) async fn wait_until(&self, what: &str, mut is_so: impl AsyncFnMut(&Fixture) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_so(self).await {
            assert!(Instant::now() < deadline, "{what}; {:?}", self.did());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn wait_for(&self, expected: &[Did]) {
        self.wait_until(&format!("{expected:?} expected"), async |fixture| {
            fixture.did().len() >= expected.len()
        })
        .await;
        assert_eq!(self.did(), expected);
    }
}

/// What the pump does of what is planned: the changes of rows, and records in partition 9.
struct Pump {
    sql: Arc<Client>,
    kafka: Kafka,
    did: Arc<Mutex<Vec<Did>>>,
}

impl Pump {
    async fn run(self, mut planned: tokio::sync::mpsc::Receiver<Planned>) {
        while let Some(Planned { work, done }) = planned.recv().await {
            let (sql, did) = match work {
                Work::Send { event, origin } => {
                    assert_eq!(origin, Origin::Reconciler);
                    assert_eq!(event.payload.as_deref(), Some(&b"{}"[..]), "it is read whole");
                    let offset = self.kafka.append(9, RecordAt::Row(event.id));
                    let sql = format!(
                        "update outbox set status = 'PUBLISH', kafka_topic = 't', kafka_partition = 9,
                             kafka_offset = {offset}, attempts = attempts + 1, last_attempt_at = now()
                         where id = '{}'",
                        event.id
                    );
                    (sql, Did::Sent(event.id.as_u128()))
                }
                Work::Complete { id, .. } => (
                    format!("update outbox set status = 'COMPLETE' where id = '{id}'"),
                    Did::Completed(id.as_u128()),
                ),
                Work::GiveUp { id, reason } => (
                    format!("update outbox set status = 'FAILED' where id = '{id}'"),
                    Did::GaveUp(id.as_u128(), reason),
                ),
                Work::Skip { .. } => panic!("the reconciler skips nothing"),
            };
            self.sql.batch_execute(&sql).await.expect("the row can be changed");
            self.did.lock().expect("nobody has panicked").push(did);
            let _ = done.send(Outcome::Done);
        }
    }
}
