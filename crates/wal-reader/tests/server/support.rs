use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use outbox::Lsn;
use testbed::Postgres;
use tokio_postgres::{Client, Config, NoTls};
use wal_reader::{
    Change, Decoder, Error, Frame, Intake, ReplicationStream, StandbyStatus, StartReplication, Value, connect,
};

/// Timeout of a wait, long enough for a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The table of [`SlotFixture::mark`].
const MARKS: &str = "marks";

/// The shared server. `pg_hba.conf` has other authentication methods than SCRAM for some roles.
pub(crate) fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| {
        let server = Postgres::start().expect("a server");
        let path = server.data_dir().join("pg_hba.conf");
        let default = fs::read_to_string(&path).expect("pg_hba.conf");
        let special =
            "host all md5_role all md5\nhost all clear_role all password\nhost all banned_role all reject\n";
        fs::write(&path, format!("{special}{default}")).expect("pg_hba.conf is written");
        server.execute("postgres", "SELECT pg_reload_conf()").expect("a reload");
        server
    })
}

pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}

/// A database with a table `t`, a table for [`mark`](SlotFixture::mark), a publication of both and a slot.
pub(crate) struct SlotFixture {
    pub(crate) config: Config,
    pub(crate) sql: Client,
    pub(crate) slot: String,
}

impl SlotFixture {
    /// `columns` are the column definitions of `t`.
    pub(crate) async fn new(server: &Postgres, columns: &str) -> SlotFixture {
        let database = server.create_database("wal").expect("a database");
        let config: Config = server.url(&database).parse().expect("a URL");
        let sql = client(&config).await;
        let slot = format!("slot_{}_{database}", server.port());
        sql.batch_execute(&format!(
            "CREATE TABLE t ({columns}); CREATE TABLE {MARKS} (name text);
             CREATE PUBLICATION p FOR TABLE t, {MARKS} WITH (publish = 'insert')"
        ))
        .await
        .expect("two tables and a publication");
        sql.execute("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", &[&slot])
            .await
            .expect("a slot");
        SlotFixture { config, sql, slot }
    }

    pub(crate) fn start(&self) -> StartReplication {
        StartReplication { slot: self.slot.clone(), publications: vec!["p".to_owned()], from: Lsn::ZERO }
    }

    pub(crate) async fn stream(&self) -> StreamReader {
        self.stream_with(&self.config).await.expect("a stream")
    }

    pub(crate) async fn stream_with(&self, config: &Config) -> Result<StreamReader, Error> {
        let client = connect(config, NoTls).await?;
        Ok(StreamReader::new(client.start_replication(&self.start()).await?))
    }

    /// Commits a row that ends [`StreamReader::until`].
    pub(crate) async fn mark(&self, name: &str) {
        let sql = format!("INSERT INTO {MARKS} VALUES ($1)");
        self.sql.execute(&sql, &[&name]).await.expect("a mark");
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

/// A replication stream with its decoder.
pub(crate) struct StreamReader {
    pub(crate) stream: ReplicationStream,
    pub(crate) decoder: Decoder,
    /// `end_lsn` of the last transaction received.
    pub(crate) end: Lsn,
}

impl StreamReader {
    pub(crate) fn new(stream: ReplicationStream) -> StreamReader {
        StreamReader { stream, decoder: Decoder::new(), end: Lsn::ZERO }
    }

    /// The next change. Replies to keepalives.
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
                // A server that shuts down waits until the receiver has reported all WAL as written.
                Frame::Keepalive { end, reply_requested: true } => {
                    self.stream.queue_status(&StandbyStatus { written: end, ..StandbyStatus::default() });
                }
                Frame::Keepalive { .. } => {}
            }
        }
    }

    /// Every change before the transaction of [`SlotFixture::mark`].
    pub(crate) async fn until(&mut self, mark: &str) -> Vec<Change> {
        let mut received = Vec::new();
        let mut marked = false;
        loop {
            match self.change().await.expect("a change") {
                Change::Relation(relation) if relation.name == MARKS => {}
                Change::Insert { relation, new } if relation.name == MARKS => {
                    marked = new.text(0) == Some(mark);
                    let begin = received.pop();
                    assert!(matches!(begin, Some(Change::Begin { .. })), "{begin:?} before a mark");
                }
                Change::Commit { .. } if marked => return received,
                change => received.push(change),
            }
        }
    }

    /// The rows before the mark, formatted by [`row`].
    pub(crate) async fn rows_until(&mut self, mark: &str) -> Vec<Vec<String>> {
        self.until(mark).await.iter().filter_map(row).collect()
    }
}

/// The text columns of an inserted row as `name=value`; `None` for other changes.
pub(crate) fn row(change: &Change) -> Option<Vec<String>> {
    let Change::Insert { relation, new } = change else { return None };
    let format = |(index, column): (usize, &wal_reader::Column)| {
        let value = match new.peek(index) {
            Some(Value::Text(bytes) | Value::Binary(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            other => format!("{other:?}"),
        };
        format!("{}={value}", column.name)
    };
    Some(relation.columns.iter().enumerate().map(format).collect())
}

/// A connection for queries.
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
