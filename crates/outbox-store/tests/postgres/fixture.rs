//! A database of its own on a server that the tests share.

use std::sync::OnceLock;

use openssl::ssl::{SslConnector, SslMethod};
use outbox_store::{
    Names, RunCheck, RunNeeds, Session, Shape, Tls, apply, check_for_run, connect, inspect, plan,
};
use testbed::Postgres;
use tokio_postgres::{Client, NoTls};

pub(crate) fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        Postgres::builder().setting("max_replication_slots", "500").start().expect("PostgreSQL starts")
    })
}

pub(crate) fn tls() -> Tls {
    Tls::new(SslConnector::builder(SslMethod::tls_client()).expect("OpenSSL is there").build())
}

pub(crate) struct Fixture {
    pub(crate) database: String,
    pub(crate) names: Names,
    pub(crate) session: Session,
    /// For statements of services and operators.
    pub(crate) sql: Client,
}

impl Fixture {
    /// An empty database; names that belong to the whole cluster are made from its name.
    pub(crate) async fn empty() -> Fixture {
        Fixture::on(server()).await
    }

    pub(crate) async fn on(server: &Postgres) -> Fixture {
        let database = server.create_database("store").expect("a database is created");
        let config: tokio_postgres::Config = server.url(&database).parse().expect("a URL");
        let (sql, connection) = config.connect(NoTls).await.expect("the server is there");
        tokio::spawn(connection);
        Fixture {
            session: connect(&config, &tls()).await.expect("the server is there"),
            names: Names { slot: format!("slot_{database}"), ..Names::default() },
            database,
            sql,
        }
    }

    /// A database in which `init` has done its work.
    pub(crate) async fn set_up() -> Fixture {
        let fixture = Fixture::empty().await;
        fixture.init().await;
        fixture
    }

    /// The same with monthly partitions.
    pub(crate) async fn partitioned() -> Fixture {
        let fixture = Fixture::empty().await;
        fixture.init_as(Shape::Monthly).await;
        fixture
    }

    pub(crate) async fn init(&self) -> Vec<String> {
        self.init_as(Shape::Plain).await
    }

    pub(crate) async fn init_as(&self, shape: Shape) -> Vec<String> {
        let found = inspect(&self.session, &self.names).await.expect("it can be looked at");
        let mut lines = Vec::new();
        apply(&self.session, &plan(&found, &self.names, true, shape), |line| lines.push(line.to_owned()))
            .await
            .expect("nothing is in the way");
        lines
    }

    pub(crate) async fn check(&self) -> RunCheck {
        self.check_with(false).await
    }

    pub(crate) async fn check_with(&self, retention: bool) -> RunCheck {
        let needs = RunNeeds { write_back: true, retention };
        check_for_run(&self.session, &self.names, needs).await.expect("it can be looked at")
    }

    /// The problems of `init`, as text.
    pub(crate) async fn init_problems(&self) -> Vec<String> {
        let found = inspect(&self.session, &self.names).await.expect("it can be looked at");
        plan(&found, &self.names, true, Shape::Plain).problems.iter().map(ToString::to_string).collect()
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.sql.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub(crate) async fn text(&self, sql: &str) -> String {
        let row = self.sql.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        row.get(0)
    }

    /// A further connection.
    pub(crate) async fn connect(&self) -> Session {
        let config: tokio_postgres::Config = server().url(&self.database).parse().expect("a URL");
        connect(&config, &tls()).await.expect("the server is there")
    }

    /// A role that can log in and nothing more, and a session as that role.
    pub(crate) async fn role(&self, attributes: &str) -> (String, tokio_postgres::Config) {
        let name = format!("role_{}", self.database);
        self.execute(&format!("create role {name} login password 'secret' {attributes}")).await;
        let mut config: tokio_postgres::Config = server().url(&self.database).parse().expect("a URL");
        config.user(&name).password("secret");
        (name, config)
    }
}
