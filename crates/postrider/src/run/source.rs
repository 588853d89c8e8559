//! The replication connection over time: connecting, up, lost, waiting, connecting again.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Result, bail};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use outbox::Lsn;
use outbox_store::{StoreError, Tls, slot_state, wal_flush_position};
use tokio::time::{Instant, Sleep, sleep};
use tracing::{info, warn};
use wal_reader::{Error, Frame, Intake, ReplicationStream, StandbyStatus, StartReplication};

/// Where the stream comes from.
#[derive(Clone)]
pub(super) struct Upstream {
    pub(super) postgres: tokio_postgres::Config,
    pub(super) tls: Tls,
    pub(super) slot: String,
    pub(super) publication: String,
}

/// The stream of one slot, across as many connections as it takes.
pub(super) struct Source {
    upstream: Upstream,
    state: State,
    backoff: ExponentialBackoff,
    /// The last failure that was logged, so that an outage is told once and not at every attempt.
    told: Option<String>,
    system: Option<String>,
    confirmed: Lsn,
    heard: Instant,
    status_interval: Duration,
}

enum State {
    Idle,
    Connecting(Pin<Box<dyn Future<Output = Result<Connection, ConnectError>>>>),
    Waiting(Pin<Box<Sleep>>),
    Up(Box<ReplicationStream>),
}

struct Connection {
    stream: ReplicationStream,
    system: String,
    sender_timeout: Option<Duration>,
    taken: Taken,
}

/// What is true from the moment the slot was taken.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    /// The slot's confirmed position.
    pub(super) confirmed: Lsn,
    /// The end of the log: nobody else publishes what commits after it.
    pub(super) horizon: Lsn,
}

/// What the source has to say.
pub(super) enum Arrival {
    /// A connection is up and starts at the position given to [`Source::connect`], or at the slot's where
    /// that is later.
    Connected(Taken),
    /// A message of the stream.
    Frame(Frame),
    /// The connection is gone and its pause over; call [`Source::connect`] for the next one.
    Reconnect,
}

/// Silence after which a connection counts as dead, as the server's own `wal_receiver_timeout` does for its
/// standbys.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// However patient the server is, it hears of progress this often: an operator watches the slot.
const STATUS_INTERVAL_MAX: Duration = Duration::from_secs(1);

impl Source {
    pub(super) fn new(upstream: Upstream) -> Self {
        Source {
            upstream,
            state: State::Idle,
            backoff: backoff(),
            told: None,
            system: None,
            confirmed: Lsn::ZERO,
            heard: Instant::now(),
            status_interval: STATUS_INTERVAL_MAX,
        }
    }

    /// Begins to connect; the stream will start at `from`, or where the slot stands when that is later.
    pub(super) fn connect(&mut self, from: Lsn) {
        self.state = State::Connecting(Box::pin(connect(self.upstream.clone(), from)));
    }

    /// Waits for what comes next. Cancel-safe. A transient failure is waited out in here, for as long as it
    /// takes; with [`Intake::Closed`] no frame is read, and queued status updates still go out.
    ///
    /// # Errors
    ///
    /// Only a definite one, which waiting does not mend.
    pub(super) async fn next(&mut self, intake: Intake) -> Result<Arrival> {
        loop {
            match &mut self.state {
                State::Idle => std::future::pending().await,
                State::Waiting(pause) => {
                    pause.as_mut().await;
                    self.state = State::Idle;
                    return Ok(Arrival::Reconnect);
                }
                State::Connecting(attempt) => match attempt.as_mut().await {
                    Ok(connection) => return self.connected(connection),
                    Err(error) => self.wait_out(error)?,
                },
                State::Up(stream) => match stream.next(intake).await {
                    Ok(frame) => {
                        self.heard = Instant::now();
                        return Ok(Arrival::Frame(frame));
                    }
                    Err(error) => self.wait_out(error.into())?,
                },
            }
        }
    }

    /// A frame that has been received already, without waiting.
    pub(super) fn buffered(&mut self) -> Result<Option<Frame>> {
        match &mut self.state {
            State::Up(stream) => Ok(stream.buffered()?),
            _ => Ok(None),
        }
    }

    /// Tells the server how far the slot may be confirmed. Costs nothing when it cannot be told now.
    pub(super) fn report(&mut self, confirmable: Lsn) {
        self.confirmed = self.confirmed.max(confirmable);
        let reply_requested = self.heard.elapsed() > SILENCE_MAX / 2;
        if let State::Up(stream) = &mut self.state {
            let at = self.confirmed;
            stream.queue_status(&StandbyStatus { written: at, flushed: at, applied: at, reply_requested });
        }
    }

    /// Gives up a connection on which nothing has been heard for too long, `listening` all the while.
    pub(super) fn check_silence(&mut self, listening: bool) {
        if !listening {
            self.heard = Instant::now();
        }
        if self.heard.elapsed() > SILENCE_MAX && matches!(self.state, State::Up(_)) {
            warn!("nothing heard from PostgreSQL for {SILENCE_MAX:?}; connecting anew");
            self.wait();
        }
    }

    /// Gives the connection back to a server that shuts down, which waits for nothing else.
    pub(super) fn release(&mut self) {
        if matches!(self.state, State::Up(_)) {
            warn!("PostgreSQL is shutting down; waiting for it to come back, nothing is lost");
            self.wait();
        }
    }

    /// How often the server is to hear from us.
    pub(super) fn status_interval(&self) -> Duration {
        self.status_interval
    }

    /// Tells the server the last confirmed position and leaves the slot.
    pub(super) async fn finish(mut self) -> Result<()> {
        self.report(self.confirmed);
        match self.state {
            State::Up(stream) => Ok(stream.finish().await?),
            _ => Ok(()),
        }
    }

    fn connected(&mut self, connection: Connection) -> Result<Arrival> {
        let Connection { stream, system, sender_timeout, taken } = connection;
        if let Some(known) = self.system.replace(system.clone()).filter(|known| *known != system) {
            bail!(
                "the server is another cluster (system identifier {system}) than the one this relay was \
                 reading (system identifier {known}); its log says nothing about what is in flight. Point \
                 postgres.url at the old cluster, or start the relay anew"
            );
        }
        let quarter = sender_timeout.map_or(STATUS_INTERVAL_MAX, |timeout| timeout / 4);
        self.status_interval = quarter.clamp(Duration::from_millis(10), STATUS_INTERVAL_MAX);
        self.state = State::Up(Box::new(stream));
        self.heard = Instant::now();
        self.backoff = backoff();
        self.told = None;
        info!(slot = self.upstream.slot, "streaming from PostgreSQL");
        Ok(Arrival::Connected(taken))
    }

    fn wait_out(&mut self, error: ConnectError) -> Result<()> {
        if error.is_definite() {
            self.state = State::Idle;
            return Err(error.into());
        }
        let text = error.to_string();
        if self.told.as_ref() != Some(&text) {
            if error.is_slot_in_use() {
                info!("standing by: {text}; taking over when it is free");
            } else {
                warn!("PostgreSQL cannot be read: {text}; waiting, nothing is lost");
            }
            self.told = Some(text);
        }
        self.wait();
        Ok(())
    }

    fn wait(&mut self) {
        let pause = self.backoff.next().unwrap_or(BACKOFF_MAX);
        self.state = State::Waiting(Box::pin(sleep(pause)));
    }
}

const BACKOFF_MAX: Duration = Duration::from_secs(5);

fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(BACKOFF_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}

async fn connect(upstream: Upstream, from: Lsn) -> Result<Connection, ConnectError> {
    let Upstream { postgres, tls, slot, publication } = upstream;
    let mut client = wal_reader::connect(&postgres, tls.clone()).await?;
    let system = client.identify_system().await?.system_id.to_string();
    let sender_timeout = sender_timeout(&client.show("wal_sender_timeout").await?);
    let start = StartReplication { slot: slot.clone(), publications: vec![publication], from };
    let stream = client.start_replication(&start).await?;
    let session = outbox_store::connect(&postgres, &tls).await?;
    let horizon = wal_flush_position(&session).await?;
    let confirmed = slot_state(&session, &slot).await?.and_then(|slot| slot.confirmed_flush_lsn);
    let taken = Taken { confirmed: confirmed.unwrap_or(Lsn::ZERO), horizon };
    Ok(Connection { stream, system, sender_timeout, taken })
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Stream(#[from] Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ConnectError {
    fn is_definite(&self) -> bool {
        match self {
            ConnectError::Stream(error) => error.is_definite(),
            ConnectError::Store(error) => error.is_definite(),
        }
    }

    fn is_slot_in_use(&self) -> bool {
        matches!(self, ConnectError::Stream(error) if error.is_slot_in_use())
    }
}

/// `SHOW` prints a time with the largest unit that divides it; 0 means never.
fn sender_timeout(shown: &str) -> Option<Duration> {
    let digits = shown.find(|c: char| !c.is_ascii_digit()).unwrap_or(shown.len());
    let number: u64 = shown[..digits].parse().ok().filter(|number| *number > 0)?;
    let unit_ms = match &shown[digits..] {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_timeout_reads_in_any_unit() {
        let cases = [("1min", 60_000), ("2s", 2_000), ("750ms", 750), ("1d", 86_400_000)];
        for (shown, ms) in cases {
            assert_eq!(sender_timeout(shown), Some(Duration::from_millis(ms)), "{shown}");
        }
        assert_eq!(sender_timeout("0"), None);
    }
}
