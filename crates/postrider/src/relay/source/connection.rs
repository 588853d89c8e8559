//! The replication connection over time: connecting, streaming, lost, backing off, connecting again.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Result;
use outbox::{Component, Lsn, Metrics, OutageLog};
use outbox_store::{
    Backoff, Database, Session, StoreError, noticing_dead_peers, slot_state, wal_flush_position,
};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tracing::{info, warn};
use wal_reader::{Error, Frame, Intake, ReplicationStream, StandbyStatus, StartReplication};

/// The slot to stream from.
#[derive(Clone)]
pub(crate) struct SlotOptions {
    pub(crate) database: Database,
    pub(crate) slot: String,
    pub(crate) publication: String,
    /// Whether to wait for a slot that another process holds.
    pub(crate) stands_by: bool,
    /// Whether rows record what was published, so that reading again from the slot's position repeats nothing.
    pub(crate) writes_back: bool,
}

/// The stream of one slot, across as many connections as it takes.
pub(crate) struct ReplicationSource {
    options: SlotOptions,
    state: ConnectionState,
    backoff: Backoff,
    outage: OutageLog,
    system: Option<SystemId>,
    /// The last position reported to the server.
    reported: Lsn,
    connected_at: Instant,
    last_message_at: Instant,
    silence_max: Duration,
    status_interval: Duration,
    metrics: Metrics,
}

enum ConnectionState {
    Idle,
    Connecting(Pin<Box<dyn Future<Output = Result<Connection, ConnectError>>>>),
    BackingOff(Pin<Box<Sleep>>),
    Streaming(Box<ReplicationStream>),
}

struct Connection {
    stream: ReplicationStream,
    system: SystemId,
    sender_timeout: Option<Duration>,
    start: SlotStart,
    session: Session,
}

/// The positions at which the slot was taken.
#[derive(Clone, Copy)]
pub(crate) struct SlotStart {
    /// The slot's `confirmed_flush_lsn`.
    pub(crate) confirmed: Lsn,
    /// The end of the WAL: no other process publishes what commits after it.
    pub(crate) horizon: Lsn,
}

/// What the source delivers.
pub(crate) enum SourceEvent {
    /// A connection streams from the position given to [`ReplicationSource::connect`], or from the slot's where that
    /// is later.
    /// The session that read these positions is returned for further queries.
    Connected(SlotStart, Session),
    /// A message of the stream.
    Frame(Frame),
    /// The connection is lost and its backoff over; call [`ReplicationSource::connect`].
    Reconnect,
    /// The WAL is another one, or another process moved the slot: remembered positions are void.
    LogChanged(String),
    /// Another process holds the slot, and the source does not stand by. Only before the first connection: later the
    /// server has not noticed yet that the last connection is gone.
    SlotInUse,
}

/// Silence after which a connection counts as dead, like the server's own `wal_receiver_timeout`. A server can be
/// busy with one transaction for longer, so the limit doubles each time.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A connection that lasted this long ends the outage before it.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// From the first packet to the start of streaming. A connection that dies in between can stay silent for hours.
const CONNECT_MAX: Duration = Duration::from_secs(30);

/// Operators watch the slot's position, so it is reported this often even if `wal_sender_timeout` is long.
const STATUS_INTERVAL_MAX: Duration = Duration::from_secs(1);

impl ReplicationSource {
    pub(crate) fn new(options: SlotOptions, metrics: Metrics) -> Self {
        ReplicationSource {
            options,
            state: ConnectionState::Idle,
            backoff: Backoff::default(),
            outage: OutageLog::default(),
            system: None,
            reported: Lsn::ZERO,
            connected_at: Instant::now(),
            last_message_at: Instant::now(),
            silence_max: SILENCE_MAX,
            status_interval: STATUS_INTERVAL_MAX,
            metrics,
        }
    }

    /// Starts the first attempt, which reads the slot's position on `session`.
    pub(crate) fn connect_first(&mut self, session: Session) {
        self.start_attempt(Lsn::ZERO, Some(session));
    }

    /// Starts to connect; the stream will start at `from`, or at the slot's position if that is later.
    pub(crate) fn connect(&mut self, from: Lsn) {
        self.start_attempt(from, None);
    }

    fn start_attempt(&mut self, from: Lsn, session: Option<Session>) {
        let attempt = connect(self.options.clone(), from, self.system.clone(), session);
        let timed = async { timeout(CONNECT_MAX, attempt).await.unwrap_or(Err(ConnectError::TimedOut)) };
        self.state = ConnectionState::Connecting(Box::pin(timed));
    }

    /// Waits for the next event. Cancel-safe. Retryable failures are retried in here without end. With
    /// [`Intake::Closed`] no frame is read, and queued status updates are still sent.
    ///
    /// # Errors
    ///
    /// One that retrying does not fix.
    pub(crate) async fn next(&mut self, intake: Intake) -> Result<SourceEvent> {
        loop {
            match &mut self.state {
                ConnectionState::Idle => std::future::pending().await,
                ConnectionState::BackingOff(delay) => {
                    delay.as_mut().await;
                    self.state = ConnectionState::Idle;
                    return Ok(SourceEvent::Reconnect);
                }
                ConnectionState::Connecting(attempt) => match attempt.as_mut().await {
                    Ok(connection) => return Ok(self.connected(connection)),
                    Err(ConnectError::LogChanged(reason)) => {
                        self.state = ConnectionState::Idle;
                        return Ok(SourceEvent::LogChanged(reason));
                    }
                    Err(error)
                        if error.is_slot_in_use() && !self.options.stands_by && self.system.is_none() =>
                    {
                        self.state = ConnectionState::Idle;
                        return Ok(SourceEvent::SlotInUse);
                    }
                    Err(error) => self.failed(error)?,
                },
                ConnectionState::Streaming(stream) => match stream.next(intake).await {
                    Ok(frame) => {
                        self.last_message_at = Instant::now();
                        self.silence_max = SILENCE_MAX;
                        return Ok(SourceEvent::Frame(frame));
                    }
                    Err(error) => self.failed(error.into())?,
                },
            }
        }
    }

    /// A frame that has been received already, without waiting.
    pub(crate) fn buffered(&mut self) -> Result<Option<Frame>> {
        match &mut self.state {
            ConnectionState::Streaming(stream) => match stream.buffered() {
                Ok(frame) => Ok(frame),
                Err(error) => self.failed(error.into()).map(|()| None),
            },
            _ => Ok(None),
        }
    }

    /// Whether this process holds the slot now.
    pub(crate) fn is_streaming(&self) -> bool {
        matches!(self.state, ConnectionState::Streaming(_))
    }

    /// Queues a standby status update that confirms the slot up to `confirmable`; no effect while disconnected.
    pub(crate) fn report(&mut self, confirmable: Lsn) {
        let reply_requested = self.last_message_at.elapsed() > SILENCE_MAX / 2;
        if let ConnectionState::Streaming(stream) = &mut self.state {
            self.reported = self.reported.max(confirmable);
            let at = self.reported;
            stream.queue_status(&StandbyStatus { written: at, flushed: at, applied: at, reply_requested });
        }
    }

    /// Closes a connection that has been silent for too long. While `reading` is false, silence is our own doing.
    pub(crate) fn check_silence(&mut self, reading: bool) {
        if !reading {
            self.last_message_at = Instant::now();
        }
        if self.last_message_at.elapsed() > self.silence_max && self.is_streaming() {
            warn!(silent_s = self.silence_max.as_secs(), "no message from PostgreSQL; reconnecting");
            self.silence_max *= 2;
            self.back_off();
        }
    }

    /// Closes the connection if the server shuts down, which waits for it. `closed` is when the server last rejected
    /// a connection.
    pub(crate) fn release(&mut self, closed: Instant) {
        if self.is_streaming() && closed > self.connected_at {
            warn!("PostgreSQL is shutting down; replication connection closed, reconnecting");
            self.back_off();
        }
    }

    /// How often [`report`](Self::report) is due.
    pub(crate) fn status_interval(&self) -> Duration {
        self.status_interval
    }

    /// Sends the last confirmed position and releases the slot.
    pub(crate) async fn finish(mut self) -> Result<()> {
        self.report(self.reported);
        match self.state {
            ConnectionState::Streaming(stream) => Ok(stream.finish().await?),
            _ => Ok(()),
        }
    }

    fn connected(&mut self, connection: Connection) -> SourceEvent {
        let Connection { stream, system, sender_timeout, start, session } = connection;
        let is_first = self.system.replace(system).is_none();
        if !is_first && let Some(reason) = self.moved_to(start.confirmed) {
            self.state = ConnectionState::Idle;
            return SourceEvent::LogChanged(reason);
        }
        self.reported = self.reported.max(start.confirmed);
        let quarter = sender_timeout.map_or(STATUS_INTERVAL_MAX, |timeout| timeout / 4);
        self.status_interval = quarter.clamp(Duration::from_millis(10), STATUS_INTERVAL_MAX);
        self.state = ConnectionState::Streaming(Box::new(stream));
        self.connected_at = Instant::now();
        self.last_message_at = Instant::now();
        info!(
            slot = self.options.slot,
            confirmed_flush_lsn = %start.confirmed,
            "streaming from PostgreSQL"
        );
        SourceEvent::Connected(start, session)
    }

    /// Why the slot is not where this process left it. A slot behind that position belongs to a server that crashed,
    /// whose WAL is the same, or to one restored from a copy, whose WAL is not; only if rows record what was
    /// published does assuming the latter cost nothing.
    fn moved_to(&self, confirmed: Lsn) -> Option<String> {
        let slot = &self.options.slot;
        if confirmed > self.reported {
            return Some(format!("another process advanced slot {slot} to {confirmed}"));
        }
        (self.options.writes_back && confirmed < self.reported)
            .then(|| format!("slot {slot} went back to {confirmed}, before {}", self.reported))
    }

    fn failed(&mut self, error: ConnectError) -> Result<()> {
        let was_steady = self.is_streaming() && self.connected_at.elapsed() > STEADY_AFTER;
        if self.is_streaming() {
            self.metrics.reconnects(Component::Replication).inc();
        }
        self.state = ConnectionState::Idle;
        if !error.is_retryable() {
            return Err(error.into());
        }
        if was_steady {
            self.backoff = Backoff::default();
            self.outage = OutageLog::default();
        }
        let text = error.to_string();
        if self.outage.failed(&text, Instant::now().into_std()) {
            if error.is_slot_in_use() {
                info!(
                    slot = self.options.slot,
                    reason = text,
                    "standing by; taking over when the slot is free"
                );
            } else {
                warn!(error = text, "could not read from PostgreSQL; retrying");
            }
        }
        self.back_off();
        Ok(())
    }

    fn back_off(&mut self) {
        let delay = self.backoff.next_delay();
        self.state = ConnectionState::BackingOff(Box::pin(sleep(delay)));
    }
}

/// Identifies the WAL of a server. LSNs are comparable only within one.
#[derive(Clone, PartialEq, Eq)]
struct SystemId {
    system_id: String,
    timeline: u32,
}

async fn connect(
    options: SlotOptions,
    from: Lsn,
    known: Option<SystemId>,
    session: Option<Session>,
) -> Result<Connection, ConnectError> {
    let SlotOptions { database, slot, publication, .. } = options;
    let postgres = noticing_dead_peers(&database.config);
    let mut client = wal_reader::connect(&postgres, database.tls.clone()).await?;
    if client.show("in_hot_standby").await? == "on" {
        return Err(ConnectError::Standby);
    }
    let identity = client.identify_system().await?;
    let system = SystemId { system_id: identity.system_id.clone(), timeline: identity.timeline };
    if let Some(known) = known {
        check_log(&known, &system, from, identity.flush_lsn)?;
    }
    let sender_timeout = parse_sender_timeout(&client.show("wal_sender_timeout").await?);
    let start = StartReplication { slot: slot.clone(), publications: vec![publication], from };
    let stream = client.start_replication(&start).await?;
    let session = match session {
        Some(session) => session,
        None => database.connect().await?,
    };
    let horizon = wal_flush_position(&session).await?;
    let confirmed = slot_state(&session, &slot).await?.and_then(|slot| slot.confirmed_flush_lsn);
    let start = SlotStart { confirmed: confirmed.unwrap_or(Lsn::ZERO), horizon };
    Ok(Connection { stream, system, sender_timeout, start, session })
}

/// Whether positions of the known WAL are valid in this one. After a failover or in a restored copy the server would
/// skip what committed before a position that only the lost WAL had.
fn check_log(known: &SystemId, now: &SystemId, from: Lsn, end: Lsn) -> Result<(), ConnectError> {
    let changed = |reason: String| Err(ConnectError::LogChanged(reason));
    if known.system_id != now.system_id {
        return Err(ConnectError::OtherCluster {
            known: known.system_id.clone(),
            now: now.system_id.clone(),
        });
    }
    if known.timeline != now.timeline {
        let reason = format!("failover: timeline {} became {}", known.timeline, now.timeline);
        return changed(reason);
    }
    if end < from {
        return changed(format!("the server's WAL ends at {end}, before {from}, which was read already"));
    }
    Ok(())
}

/// Why no connection streams.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Stream(#[from] Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the server is a standby")]
    Standby,
    #[error("PostgreSQL did not answer within {CONNECT_MAX:?}")]
    TimedOut,
    #[error("{0}")]
    LogChanged(String),
    #[error(
        "the server belongs to another cluster (system identifier {now}) than before ({known}), so its WAL does not \
         contain what is in flight. Point postgres.url at the old cluster, or restart the relay"
    )]
    OtherCluster { known: String, now: String },
}

impl ConnectError {
    fn is_retryable(&self) -> bool {
        match self {
            ConnectError::Stream(error) => error.is_retryable(),
            ConnectError::Store(error) => error.is_retryable(),
            ConnectError::OtherCluster { .. } => false,
            ConnectError::Standby | ConnectError::TimedOut | ConnectError::LogChanged(_) => true,
        }
    }

    fn is_slot_in_use(&self) -> bool {
        matches!(self, ConnectError::Stream(error) if error.is_slot_in_use())
    }
}

/// Parses what `SHOW` prints: a number with the largest unit that divides it; 0 disables the timeout.
fn parse_sender_timeout(shown: &str) -> Option<Duration> {
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
    fn check_log_rejects_positions_of_another_wal() {
        let system = |system_id: &str, timeline| SystemId { system_id: system_id.to_owned(), timeline };
        let lsn = Lsn::from_u64;
        let known = system("7", 1);
        assert!(check_log(&known, &system("7", 1), lsn(5), lsn(5)).is_ok());
        let error =
            |now: &SystemId, from| check_log(&known, now, lsn(from), lsn(5)).expect_err("another WAL");
        assert!(matches!(error(&system("7", 2), 1), ConnectError::LogChanged(_)));
        assert!(matches!(error(&system("7", 1), 6), ConnectError::LogChanged(_)));
        assert!(!error(&system("8", 1), 1).is_retryable());
    }

    #[test]
    fn parse_sender_timeout_reads_every_unit() {
        let cases = [("1min", 60_000), ("2s", 2_000), ("750ms", 750), ("1d", 86_400_000)];
        for (shown, ms) in cases {
            assert_eq!(parse_sender_timeout(shown), Some(Duration::from_millis(ms)), "{shown}");
        }
        assert_eq!(parse_sender_timeout("0"), None);
    }
}
