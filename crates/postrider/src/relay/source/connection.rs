//! The replication connection over time: connecting, up, lost, waiting, connecting again.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Result;
use outbox::Lsn;
use outbox_store::{StoreError, Tls, noticing_dead_peers, slot_state, wal_flush_position};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tracing::{info, warn};
use wal_reader::{Error, Frame, Intake, ReplicationStream, StandbyStatus, StartReplication};

use crate::relay::outage::{Pauses, TELL_AGAIN_AFTER};

/// Where the stream comes from.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) postgres: tokio_postgres::Config,
    pub(crate) tls: Tls,
    pub(crate) slot: String,
    pub(crate) publication: String,
    /// Whether a slot that another holds is waited for.
    pub(crate) stands_by: bool,
}

/// The stream of one slot, across as many connections as it takes.
pub(crate) struct Source {
    upstream: Upstream,
    /// Whether the rows tell what was published, so that nothing is repeated by starting at the slot.
    rows_tell: bool,
    state: State,
    pauses: Pauses,
    /// The last failure that was logged, so that an outage is told once and not at every attempt.
    told: Option<(String, Instant)>,
    identity: Option<Identity>,
    /// The last position that was reported to the server.
    reported: Lsn,
    up_since: Instant,
    heard: Instant,
    silence_max: Duration,
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
    identity: Identity,
    sender_timeout: Option<Duration>,
    taken: Taken,
}

/// What is true from the moment the slot was taken.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    /// The slot's confirmed position.
    pub(crate) confirmed: Lsn,
    /// The end of the log: nobody else publishes what commits after it.
    pub(crate) horizon: Lsn,
}

/// What the source has to say.
pub(crate) enum Arrival {
    /// A connection is up and starts at the position given to [`Source::connect`], or at the slot's where
    /// that is later.
    Connected(Taken),
    /// A message of the stream.
    Frame(Frame),
    /// The connection is gone and its pause over; call [`Source::connect`] for the next one.
    Reconnect,
    /// The log is not the one that was read, or somebody else has moved the slot: what this relay remembers
    /// of the log is of no use.
    Anew(String),
    /// Another holds the slot, and it is not to be waited for. Only before the first connection: later it is the
    /// server that has yet to miss the last one.
    SlotTaken,
}

/// Silence after which a connection counts as dead, as the server's own `wal_receiver_timeout` does for its
/// standbys. A server may be busy with one transaction for longer, so the next silence may be twice as long.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A connection that lasted this long ends the outage before it; what fails sooner is the same outage still.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// For everything between the first packet and the stream. A connection that dies in the middle of it may say
/// nothing for hours.
const CONNECT_MAX: Duration = Duration::from_secs(30);

/// However patient the server is, it hears of progress this often: an operator watches the slot.
const STATUS_INTERVAL_MAX: Duration = Duration::from_secs(1);

impl Source {
    pub(crate) fn new(upstream: Upstream, rows_tell: bool) -> Self {
        Source {
            upstream,
            rows_tell,
            state: State::Idle,
            pauses: Pauses::default(),
            told: None,
            identity: None,
            reported: Lsn::ZERO,
            up_since: Instant::now(),
            heard: Instant::now(),
            silence_max: SILENCE_MAX,
            status_interval: STATUS_INTERVAL_MAX,
        }
    }

    /// Begins to connect; the stream will start at `from`, or where the slot stands when that is later.
    pub(crate) fn connect(&mut self, from: Lsn) {
        let attempt = connect(self.upstream.clone(), from, self.identity.clone());
        let timed = async { timeout(CONNECT_MAX, attempt).await.unwrap_or(Err(ConnectError::TimedOut)) };
        self.state = State::Connecting(Box::pin(timed));
    }

    /// Waits for what comes next. Cancel-safe. A transient failure is waited out in here, for as long as it
    /// takes; with [`Intake::Closed`] no frame is read, and queued status updates still go out.
    ///
    /// # Errors
    ///
    /// Only a definite one, which waiting does not mend.
    pub(crate) async fn next(&mut self, intake: Intake) -> Result<Arrival> {
        loop {
            match &mut self.state {
                State::Idle => std::future::pending().await,
                State::Waiting(pause) => {
                    pause.as_mut().await;
                    self.state = State::Idle;
                    return Ok(Arrival::Reconnect);
                }
                State::Connecting(attempt) => match attempt.as_mut().await {
                    Ok(connection) => return Ok(self.connected(connection)),
                    Err(ConnectError::OtherLog(reason)) => {
                        self.state = State::Idle;
                        return Ok(Arrival::Anew(reason));
                    }
                    Err(error)
                        if error.is_slot_in_use() && !self.upstream.stands_by && self.identity.is_none() =>
                    {
                        self.state = State::Idle;
                        return Ok(Arrival::SlotTaken);
                    }
                    Err(error) => self.wait_out(error)?,
                },
                State::Up(stream) => match stream.next(intake).await {
                    Ok(frame) => {
                        self.heard = Instant::now();
                        self.silence_max = SILENCE_MAX;
                        return Ok(Arrival::Frame(frame));
                    }
                    Err(error) => self.wait_out(error.into())?,
                },
            }
        }
    }

    /// A frame that has been received already, without waiting.
    pub(crate) fn buffered(&mut self) -> Result<Option<Frame>> {
        match &mut self.state {
            State::Up(stream) => match stream.buffered() {
                Ok(frame) => Ok(frame),
                Err(error) => self.wait_out(error.into()).map(|()| None),
            },
            _ => Ok(None),
        }
    }

    /// Whether the slot is held now.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Tells the server how far the slot may be confirmed. Costs nothing when it cannot be told now.
    pub(crate) fn report(&mut self, confirmable: Lsn) {
        let reply_requested = self.heard.elapsed() > SILENCE_MAX / 2;
        if let State::Up(stream) = &mut self.state {
            self.reported = self.reported.max(confirmable);
            let at = self.reported;
            stream.queue_status(&StandbyStatus { written: at, flushed: at, applied: at, reply_requested });
        }
    }

    /// Gives up a connection on which nothing has been heard for too long, `listening` all the while.
    pub(crate) fn check_silence(&mut self, listening: bool) {
        if !listening {
            self.heard = Instant::now();
        }
        if self.heard.elapsed() > self.silence_max && self.is_up() {
            warn!("nothing heard from PostgreSQL for {:?}; connecting anew", self.silence_max);
            self.silence_max *= 2;
            self.wait();
        }
    }

    /// Gives the connection back to a server that shuts down, which waits for nothing else; `closed` is when
    /// it last took no connections.
    pub(crate) fn release(&mut self, closed: Instant) {
        if self.is_up() && closed > self.up_since {
            warn!("PostgreSQL is shutting down; waiting for it to come back, nothing is lost");
            self.wait();
        }
    }

    /// How often the server is to hear from us.
    pub(crate) fn status_interval(&self) -> Duration {
        self.status_interval
    }

    /// Tells the server the last confirmed position and leaves the slot.
    pub(crate) async fn finish(mut self) -> Result<()> {
        self.report(self.reported);
        match self.state {
            State::Up(stream) => Ok(stream.finish().await?),
            _ => Ok(()),
        }
    }

    fn connected(&mut self, connection: Connection) -> Arrival {
        let Connection { stream, identity, sender_timeout, taken } = connection;
        let is_first = self.identity.replace(identity).is_none();
        if !is_first && let Some(reason) = self.is_moved(taken.confirmed) {
            self.state = State::Idle;
            return Arrival::Anew(reason);
        }
        self.reported = self.reported.max(taken.confirmed);
        let quarter = sender_timeout.map_or(STATUS_INTERVAL_MAX, |timeout| timeout / 4);
        self.status_interval = quarter.clamp(Duration::from_millis(10), STATUS_INTERVAL_MAX);
        self.state = State::Up(Box::new(stream));
        self.up_since = Instant::now();
        self.heard = Instant::now();
        info!(slot = self.upstream.slot, "streaming from PostgreSQL");
        Arrival::Connected(taken)
    }

    /// Whether the slot does not stand where it was left. One that stands behind it is that of a server that
    /// crashed, whose log is the same, or of one that was restored from a copy, whose log is not; only where
    /// the rows tell what was published does it cost nothing to believe the worse.
    fn is_moved(&self, confirmed: Lsn) -> Option<String> {
        let slot = &self.upstream.slot;
        if confirmed > self.reported {
            return Some(format!("another relay moved slot {slot} to {confirmed} meanwhile"));
        }
        (self.rows_tell && confirmed < self.reported)
            .then(|| format!("slot {slot} came back at {confirmed}, before {}", self.reported))
    }

    fn wait_out(&mut self, error: ConnectError) -> Result<()> {
        let was_steady = self.is_up() && self.up_since.elapsed() > STEADY_AFTER;
        self.state = State::Idle;
        if error.is_definite() {
            return Err(error.into());
        }
        if was_steady {
            self.pauses = Pauses::default();
            self.told = None;
        }
        let text = error.to_string();
        let is_told = |(told, at): &(String, Instant)| *told == text && at.elapsed() < TELL_AGAIN_AFTER;
        if !self.told.as_ref().is_some_and(is_told) {
            if error.is_slot_in_use() {
                info!("standing by: {text}; taking over when it is free");
            } else {
                warn!("PostgreSQL cannot be read: {text}; waiting, nothing is lost");
            }
            self.told = Some((text, Instant::now()));
        }
        self.wait();
        Ok(())
    }

    fn wait(&mut self) {
        let pause = self.pauses.next();
        self.state = State::Waiting(Box::pin(sleep(pause)));
    }
}

/// Which log a server has.
#[derive(Clone, PartialEq, Eq)]
struct Identity {
    system_id: String,
    timeline: u32,
}

async fn connect(upstream: Upstream, from: Lsn, known: Option<Identity>) -> Result<Connection, ConnectError> {
    let Upstream { postgres, tls, slot, publication, .. } = upstream;
    let postgres = noticing_dead_peers(&postgres);
    let mut client = wal_reader::connect(&postgres, tls.clone()).await?;
    if client.show("in_hot_standby").await? == "on" {
        return Err(ConnectError::Standby);
    }
    let system = client.identify_system().await?;
    let identity = Identity { system_id: system.system_id.clone(), timeline: system.timeline };
    if let Some(known) = known {
        check_log(&known, &identity, from, system.flush_lsn)?;
    }
    let sender_timeout = sender_timeout(&client.show("wal_sender_timeout").await?);
    let start = StartReplication { slot: slot.clone(), publications: vec![publication], from };
    let stream = client.start_replication(&start).await?;
    let session = outbox_store::connect(&postgres, &tls).await?;
    let horizon = wal_flush_position(&session).await?;
    let confirmed = slot_state(&session, &slot).await?.and_then(|slot| slot.confirmed_flush_lsn);
    let taken = Taken { confirmed: confirmed.unwrap_or(Lsn::ZERO), horizon };
    Ok(Connection { stream, identity, sender_timeout, taken })
}

/// Whether positions of the known log mean anything in this one. After a failover or a restored copy the
/// server would skip whatever committed before a position that only the lost log had.
fn check_log(known: &Identity, now: &Identity, from: Lsn, end: Lsn) -> Result<(), ConnectError> {
    let other = |what: String| Err(ConnectError::OtherLog(what));
    if known.system_id != now.system_id {
        return Err(ConnectError::OtherCluster {
            known: known.system_id.clone(),
            now: now.system_id.clone(),
        });
    }
    if known.timeline != now.timeline {
        return other(format!(
            "the server went from timeline {} to {} (a failover)",
            known.timeline, now.timeline
        ));
    }
    if end < from {
        return other(format!("the server's log ends at {end}, before {from}, which was read already"));
    }
    Ok(())
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Stream(#[from] Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the server is a standby")]
    Standby,
    #[error("PostgreSQL has not answered within {CONNECT_MAX:?}")]
    TimedOut,
    #[error("{0}")]
    OtherLog(String),
    #[error(
        "the server is another cluster (system identifier {now}) than the one this relay was reading \
         ({known}); its log says nothing about what is in flight. Point postgres.url at the old cluster, or \
         start the relay anew"
    )]
    OtherCluster { known: String, now: String },
}

impl ConnectError {
    fn is_definite(&self) -> bool {
        match self {
            ConnectError::Stream(error) => !error.is_retryable(),
            ConnectError::Store(error) => !error.is_retryable(),
            ConnectError::OtherCluster { .. } => true,
            ConnectError::Standby | ConnectError::TimedOut | ConnectError::OtherLog(_) => false,
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
    fn positions_mean_something_only_in_the_log_they_are_from() {
        let identity = |system_id: &str, timeline| Identity { system_id: system_id.to_owned(), timeline };
        let lsn = Lsn::from_u64;
        let known = identity("7", 1);
        assert!(check_log(&known, &identity("7", 1), lsn(5), lsn(5)).is_ok());
        let other =
            |now: &Identity, from| check_log(&known, now, lsn(from), lsn(5)).expect_err("another log");
        assert!(matches!(other(&identity("7", 2), 1), ConnectError::OtherLog(_)));
        assert!(matches!(other(&identity("7", 1), 6), ConnectError::OtherLog(_)));
        assert!(other(&identity("8", 1), 1).is_definite());
    }

    #[test]
    fn the_servers_timeout_reads_in_any_unit() {
        let cases = [("1min", 60_000), ("2s", 2_000), ("750ms", 750), ("1d", 86_400_000)];
        for (shown, ms) in cases {
            assert_eq!(sender_timeout(shown), Some(Duration::from_millis(ms)), "{shown}");
        }
        assert_eq!(sender_timeout("0"), None);
    }
}
