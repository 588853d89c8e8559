use std::future::poll_fn;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_postgres::config::{Config, Host};
use tokio_postgres::{AsyncMessage, Client, Connection};

use crate::connection::error::StoreError;
use crate::connection::quote::identifier;
use crate::connection::settings::{AFTER_STARTUP, startup_options};

/// What secures a connection where `sslmode` asks for it.
pub type Tls = postgres_openssl::MakeTlsConnector;

// libpq waits for ever by default. Half a minute is enough for a loaded server, and short enough for a relay.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);
// A connection that waits for an answer has nothing on the wire, so only keepalives tell that its peer is gone.
// tokio-postgres has libpq's default of two hours, which is far too long.
const KEEPALIVES_IDLE_DEFAULT: Duration = Duration::from_secs(2 * 60 * 60);
const KEEPALIVES_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVES_RETRIES: u32 = 3;
const SETUP_TIMEOUT: Duration = Duration::from_secs(30);

/// An open connection. Dropping it closes it.
#[derive(Debug)]
pub struct Session {
    client: Client,
    connection: JoinHandle<()>,
    /// Its sender lives as long as the connection.
    alive: watch::Receiver<()>,
}

/// The configuration with which a connection notices, within about half a minute, that its server is gone,
/// where the configuration does not say otherwise: by keepalives while the connection waits, by `tcp_user_timeout`
/// while it sends, and by a limit of 10 s on connecting.
///
/// Without these a server whose machine or network vanished without a word is waited for as long as the system
/// does, by default for hours (PostgreSQL documentation, "Parameter Key Words"). Every connection of a relay wants
/// them, that which replicates too. A `keepalives_idle` of 2 h is taken for not set: it is the default.
#[must_use]
pub fn noticing_dead_peers(config: &Config) -> Config {
    let mut config = config.clone();
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
    }
    if config.get_keepalives_idle() == KEEPALIVES_IDLE_DEFAULT {
        config.keepalives_idle(KEEPALIVES_IDLE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(KEEPALIVES_INTERVAL);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(KEEPALIVES_RETRIES);
    }
    config
}

/// Opens a connection whose commits are durable when they return, named `postrider` unless the configuration
/// names it otherwise. Must be called on a tokio runtime.
///
/// # Errors
///
/// Transient where the server cannot be reached, is starting or has no room; definite where it refuses the
/// role, the password or the database.
pub async fn connect(config: &Config, tls: &Tls) -> Result<Session, StoreError> {
    open(config, tls, None).await
}

/// As [`connect`], with the payloads of what is notified on the channels the connection listens on. When the receiver
/// is full, payloads are dropped: one payload suffices to wake the receiver.
///
/// # Errors
///
/// As of [`connect`].
pub(crate) async fn connect_listening(
    config: &Config,
    tls: &Tls,
    channel: &str,
) -> Result<(Session, mpsc::Receiver<String>), StoreError> {
    let (notify, notified) = mpsc::channel(64);
    let session = open(config, tls, Some(notify)).await?;
    session.run(&format!("listen {}", identifier(channel)), &format!("listening on {channel}")).await?;
    Ok((session, notified))
}

async fn open(
    config: &Config,
    tls: &Tls,
    notify: Option<mpsc::Sender<String>>,
) -> Result<Session, StoreError> {
    let doing = format!("connecting to PostgreSQL at {}", addresses(config));
    let doing = doing.as_str();
    let mut config = noticing_dead_peers(config);
    if config.get_application_name().is_none() {
        config.application_name("postrider");
    }
    config.options(startup_options(config.get_options()));
    let opening = async {
        let (client, connection) = config.connect(tls.clone()).await.map_err(StoreError::postgres(doing))?;
        let (living, alive) = watch::channel(());
        let session = Session {
            client,
            alive,
            connection: tokio::spawn(async move {
                let _living = living;
                // The pending query gets the same error; here it only ends the task.
                if let Err(error) = drive(connection, notify).await {
                    tracing::debug!(%error, "a connection to PostgreSQL has ended");
                }
            }),
        };
        session.run(AFTER_STARTUP, doing).await?;
        Ok(session)
    };
    let timeout = StoreError::retryable(doing, format!("no answer within {} s", SETUP_TIMEOUT.as_secs()));
    tokio::time::timeout(SETUP_TIMEOUT, opening).await.unwrap_or(Err(timeout))
}

async fn drive<S, T>(
    mut connection: Connection<S, T>,
    notify: Option<mpsc::Sender<String>>,
) -> Result<(), tokio_postgres::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let Some(notify) = notify else { return connection.await };
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notification(notification) = message? {
            let _ = notify.try_send(notification.payload().to_owned());
        }
    }
    Ok(())
}

/// Where a configuration leads to, as people write it.
fn addresses(config: &Config) -> String {
    let ports = config.get_ports();
    let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(5432);
    let host = |(index, host): (usize, &Host)| match host {
        Host::Tcp(name) => format!("{name}:{}", port(index)),
        Host::Unix(directory) => format!("{}/.s.PGSQL.{}", directory.display(), port(index)),
    };
    config.get_hosts().iter().enumerate().map(host).collect::<Vec<_>>().join(", ")
}

impl Session {
    /// Whether the connection is known to be gone.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Waits until the connection is closed; the server closes an idle one when it shuts down. Cancel-safe.
    pub async fn closed(&self) {
        // Nothing is ever sent, so this ends with the sender.
        let _ = self.alive.clone().changed().await;
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Runs statements as one query: one transaction unless they say otherwise.
    pub(crate) async fn run(&self, sql: &str, doing: &str) -> Result<(), StoreError> {
        self.client.batch_execute(sql).await.map_err(StoreError::postgres(doing))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
