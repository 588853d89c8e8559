//! A database with an outbox, on a server that the tests share.

use std::sync::OnceLock;
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod};
use outbox::Status;
use outbox_store::{
    Database, Names, ReplayRequest, Selection, Session, Shape, Tls, apply, connect, inspect, plan,
    replay_request, request_replay,
};
use reconciler::{ReplayNotifier, ReplayOptions, ResendQueue, execute_replays, replay_notices};
use testbed::Postgres;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        Postgres::builder().setting("max_replication_slots", "100").start().expect("PostgreSQL starts")
    })
}

pub(crate) struct Fixture {
    pub(crate) database: Database,
    pub(crate) session: Session,
    pub(crate) sql: Client,
}

/// The id of the row with this number.
pub(crate) fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub(crate) fn number(id: Uuid) -> u128 {
    id.as_u128()
}

impl Fixture {
    pub(crate) async fn set_up() -> Fixture {
        let database = server().create_database("replay").expect("a database is created");
        let config: tokio_postgres::Config = server().url(&database).parse().expect("a URL");
        let tls = Tls::new(SslConnector::builder(SslMethod::tls_client()).expect("OpenSSL works").build());
        let session = connect(&config, &tls).await.expect("PostgreSQL runs");
        let names = Names { slot: format!("slot_{database}"), ..Names::default() };
        let found = inspect(&session, &names).await.expect("the catalog is read");
        apply(&session, &plan(&found, &names, true, Shape::Plain), |_| {}).await.expect("init succeeds");
        let (sql, connection) = config.connect(NoTls).await.expect("PostgreSQL runs");
        tokio::spawn(connection);
        Fixture { database: Database { config, tls, names }, session, sql }
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.sql.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub(crate) async fn text(&self, sql: &str) -> String {
        let row = self.sql.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        row.get(0)
    }

    /// Inserts rows with these numbers in this state, created one second after each other.
    pub(crate) async fn rows(&self, numbers: std::ops::RangeInclusive<u32>, status: Status) {
        let (first, last) = (numbers.start(), numbers.end());
        self.execute(&format!(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload, status, created_at)
             select lpad(to_hex(n), 32, '0')::uuid, 'order', (n % 7)::text, 'placed', '{{}}', '{status}',
                    timestamptz '2026-01-01 00:00:00+00' + n * interval '1 second'
             from generate_series({first}, {last}) as n"
        ))
        .await;
    }

    pub(crate) async fn request(&self, selection: Selection, rows_per_second: Option<u32>) -> Uuid {
        request_replay(&self.session, &self.database.names, &selection, rows_per_second)
            .await
            .expect("it is requested")
    }

    pub(crate) async fn of(&self, request: Uuid) -> ReplayRequest {
        replay_request(&self.session, request).await.expect("it is read").expect("it exists")
    }

    pub(crate) async fn finished(&self, request: Uuid) -> ReplayRequest {
        let waiting = async {
            loop {
                let found = self.of(request).await;
                if found.state.is_finished() {
                    return found;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, waiting).await.expect("it is finished")
    }

    pub(crate) fn executor(&self, resends: ResendQueue, options: ReplayOptions) -> Executor {
        let (notifier, notices) = replay_notices();
        let task = tokio::spawn(execute_replays(self.database.clone(), resends, notices, options));
        Executor { notifier: Some(notifier), task }
    }

    /// An executor that has read the unfinished requests from the table.
    pub(crate) async fn started_executor(&self, resends: ResendQueue) -> Executor {
        let nothing = Selection { ids: vec![Uuid::nil()], ..Selection::default() };
        let request = self.request(nothing, None).await;
        let executor = self.executor(resends, saving_often());
        self.finished(request).await;
        executor
    }

    /// Waits until the executor has run a query like this one.
    pub(crate) async fn queried(&self, like: &str) {
        let sql = format!(
            "select exists (select from pg_stat_activity where datname = current_database()
                 and application_name = 'postrider' and query like '%{like}%')::text"
        );
        let waiting = async {
            while self.text(&sql).await != "true" {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, waiting).await.expect("it is queried");
    }
}

pub(crate) struct Executor {
    /// `None` once it is closed.
    pub(crate) notifier: Option<ReplayNotifier>,
    pub(crate) task: JoinHandle<Result<Option<ReplayRequest>, outbox_store::StoreError>>,
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Saves often, so that tests are quick.
pub(crate) fn saving_often() -> ReplayOptions {
    ReplayOptions { save_every: Duration::from_millis(3), ..ReplayOptions::default() }
}
