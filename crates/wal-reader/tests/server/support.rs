use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use outbox::Lsn;
use testbed::Postgres;
use tokio_postgres::{Client, Config, NoTls};
use wal_reader::{
    Change, Decoder, Error, Frame, Intake, ReplicationStream, StandbyStatus, StartReplication, Value, connect,
};

/// How long a condition may take on a busy machine before a test gives up.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The server that tests share. Some roles are let in by other methods than the usual SCRAM.
pub(crate) fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| {
        let server = Postgres::start().expect("a server");
        let path = server.data_dir().join("pg_hba.conf");
        let usual = fs::read_to_string(&path).expect("pg_hba.conf");
        let special =
            "host all md5_role all md5\nhost all clear_role all password\nhost all banned_role all reject\n";
        fs::write(&path, format!("{special}{usual}")).expect("pg_hba.conf is written");
        server.execute("postgres", "SELECT pg_reload_conf()").expect("a reload");
        server
    })
}

pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}

/// A database with a table `t`, a publication of it and a slot.
pub(crate) struct Place {
    pub(crate) config: Config,
    pub(crate) sql: Client,
    pub(crate) slot: String,
}

impl Place {
    /// `columns` is the table's definition.
    pub(crate) async fn new(server: &Postgres, columns: &str) -> Place {
        let database = server.create_database("wal").expect("a database");
        let config: Config = server.url(&database).parse().expect("a URL");
        let sql = client(&config).await;
        let slot = format!("slot_{}_{database}", server.port());
        sql.batch_execute(&format!(
            "CREATE TABLE t ({columns}); CREATE PUBLICATION p FOR TABLE t WITH (publish = 'insert')"
        ))
        .await
        .expect("a table and a publication");
        sql.execute("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", &[&slot])
            .await
            .expect("a slot");
        Place { config, sql, slot }
    }

    pub(crate) fn start(&self) -> StartReplication {
        StartReplication { slot: self.slot.clone(), publications: vec!["p".to_owned()], from: Lsn::ZERO }
    }

    pub(crate) async fn stream(&self) -> Listener {
        self.stream_with(&self.config).await.expect("a stream")
    }

    pub(crate) async fn stream_with(&self, config: &Config) -> Result<Listener, Error> {
        let client = connect(config, NoTls).await?;
        Ok(Listener::new(client.start_replication(&self.start()).await?))
    }

    /// Commits a logical message for [`Listener::until`].
    pub(crate) async fn mark(&self, name: &str) {
        self.sql
            .execute("SELECT pg_logical_emit_message(true, 'mark', $1)", &[&name])
            .await
            .expect("a message");
    }

    pub(crate) async fn confirmed(&self) -> Lsn {
        let sql = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1";
        let row = self.sql.query_one(sql, &[&self.slot]).await.expect("the slot");
        row.get::<_, &str>(0).parse().expect("an LSN")
    }

    pub(crate) async fn is_active(&self) -> bool {
        let sql = "SELECT active FROM pg_replication_slots WHERE slot_name = $1";
        self.sql.query_one(sql, &[&self.slot]).await.expect("the slot").get(0)
    }
}

/// A stream with its decoder.
pub(crate) struct Listener {
    pub(crate) stream: ReplicationStream,
    pub(crate) decoder: Decoder,
    /// End of the last transaction seen.
    pub(crate) end: Lsn,
}

impl Listener {
    pub(crate) fn new(stream: ReplicationStream) -> Listener {
        Listener { stream, decoder: Decoder::new(), end: Lsn::ZERO }
    }

    /// The next change, keepalives answered on the way.
    pub(crate) async fn change(&mut self) -> Result<Change, Error> {
        loop {
            match within("a frame", self.stream.next(Intake::Open)).await? {
                Frame::XLogData { data, .. } => {
                    let change = self.decoder.decode(data)?;
                    if let Change::Commit { end_lsn, .. } = change {
                        self.end = end_lsn;
                    }
                    return Ok(change);
                }
                // A server that shuts down waits until all it sent is at least said to be written.
                Frame::Keepalive { end, reply_requested: true } => {
                    self.stream.queue_status(&StandbyStatus { written: end, ..StandbyStatus::default() });
                }
                Frame::Keepalive { .. } => {}
            }
        }
    }

    /// Every change up to the end of the transaction with the message that [`Place::mark`] commits.
    pub(crate) async fn until(&mut self, mark: &str) -> Vec<Change> {
        let mut seen = Vec::new();
        let mut marked = false;
        loop {
            match self.change().await.expect("a change") {
                Change::Message { prefix, content, .. } if &prefix[..] == b"mark" => {
                    marked = content == mark.as_bytes();
                    seen.pop();
                }
                Change::Commit { .. } if marked => return seen,
                change => seen.push(change),
            }
        }
    }

    /// The rows among these changes, as [`row`] shows them.
    pub(crate) async fn rows_until(&mut self, mark: &str) -> Vec<Vec<String>> {
        self.until(mark).await.iter().filter_map(row).collect()
    }
}

/// An inserted row of text columns as `name=value`.
pub(crate) fn row(change: &Change) -> Option<Vec<String>> {
    let Change::Insert { relation, new } = change else { return None };
    let show = |(index, column): (usize, &wal_reader::Column)| {
        let value = match new.peek(index) {
            Some(Value::Text(bytes) | Value::Binary(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            other => format!("{other:?}"),
        };
        format!("{}={value}", column.name)
    };
    Some(relation.columns.iter().enumerate().map(show).collect())
}

/// An ordinary connection.
pub(crate) async fn client(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

/// Waits until the condition holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    within(what, async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while !holds().await {
            tick.tick().await;
        }
    })
    .await;
}
