//! The one loop that owns the in-flight ledger: read, publish, acknowledge, write back, confirm.

use std::future::Future;
use std::pin::Pin;

use anyhow::{Error, Result};
use outbox::{Admission, Event, InFlightLedger, LookupOutcome, Lsn, Metrics, Status, Token, needs_publish};
use reconciler::{QueuedCommand, ReplayNotifier, ResendIntake};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::info;
use wal_reader::{Frame, Intake};

use crate::relay::exit::{ExitReason, Phase};
use crate::relay::publish::held_key_drain::{DrainOutcome, HeldKeyDrains};
use crate::relay::publish::in_flight::Completion;
use crate::relay::publish::publisher::Publisher;
use crate::relay::publish::queued_event::QueuedEvent;
use crate::relay::shutdown::Shutdown;
use crate::relay::source::connection::{ReplicationSource, SourceEvent};
use crate::relay::source::decode::{OutboxDecoder, WalMessage};
use crate::relay::source::dedup::{Deduplicator, Resolved};
use crate::relay::source::shutdown_probe::ShutdownProbe;
use crate::relay::stall::{Backlog, StallDetector};
use crate::relay::store::Store;

/// Carries events from the source and the resend queue to the publisher, and keeps the [`InFlightLedger`].
pub(super) struct MainLoop {
    parts: MainLoopParts,
    shutdown_probe: ShutdownProbe,
    dedup: Deduplicator,
    stall: StallDetector,
    phase: Phase,
    completions: Vec<Completion>,
}

/// What a session's main loop is made of.
pub(super) struct MainLoopParts {
    /// Connected, and the ledger knows the slot's position.
    pub(super) source: ReplicationSource,
    pub(super) decoder: OutboxDecoder,
    pub(super) store: Store,
    pub(super) ledger: InFlightLedger,
    pub(super) publisher: Publisher,
    pub(super) drains: HeldKeyDrains,
    pub(super) resends: ResendIntake,
    pub(super) replays: ReplayNotifier,
    /// Whether the WAL is left unread, because the session only carries out a replay.
    pub(super) replay_only: bool,
    /// The end of the WAL when the session began.
    pub(super) horizon: Lsn,
    pub(super) metrics: Metrics,
}

/// Everything that the loop reacts to.
enum Input {
    StopRequested,
    DrainDeadline,
    Completed,
    /// Completions cannot come any more.
    CompletionsFailed(Error),
    Resolved(Vec<Resolved>),
    Encoded(Token, QueuedEvent),
    Tick,
    Source(SourceEvent),
    Resend(QueuedCommand),
    Drain(DrainOutcome),
}

/// Frames taken before completions are polled again.
const FRAMES_PER_TURN_MAX: usize = 512;

/// Resend commands taken at once: few, so that live rows hardly wait.
const RESENDS_PER_TURN_MAX: usize = 64;

impl MainLoop {
    pub(super) fn new(parts: MainLoopParts) -> Self {
        MainLoop {
            shutdown_probe: ShutdownProbe::start(parts.store.database.clone()),
            parts,
            dedup: Deduplicator::default(),
            stall: StallDetector::default(),
            phase: Phase::Streaming,
            completions: Vec::new(),
        }
    }

    /// Runs until a stop is requested or an error ends the session, and drains. Afterwards what was acknowledged is
    /// written back, and the source holds the confirmable position, unless draining timed out.
    pub(super) async fn run(&mut self, shutdown: &mut Shutdown) -> ExitReason {
        let mut tick: Pin<Box<_>> = Box::pin(sleep(self.parts.source.status_interval()));
        loop {
            let (unacknowledged, unwritten) = self.awaited();
            if let Some(reason) = self.phase.finished(unacknowledged, unwritten) {
                self.report_confirmable();
                return reason;
            }
            let input = self.next_input(shutdown, tick.as_mut()).await;
            if matches!(input, Ok(Input::Tick)) {
                tick.set(sleep(self.parts.source.status_interval()));
            }
            if let Err(error) = input.and_then(|input| self.handle(input)) {
                self.phase.drain(ExitReason::Failed(error));
            }
            if self.phase.is_streaming() {
                self.hand_over();
                let store = &self.parts.store;
                self.dedup.start_lookup(|ids| Box::pin(store.clone().statuses(ids)));
                self.start_drains();
            }
            self.publish_settled_position();
            self.update_gauges();
        }
    }

    /// The parts that outlive the loop.
    pub(super) fn into_parts(self) -> MainLoopParts {
        self.parts
    }

    async fn next_input(
        &mut self,
        shutdown: &mut Shutdown,
        tick: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Input> {
        let intake = if self.reads_more() { Intake::Open } else { Intake::Closed };
        let takes_resends = self.has_room() && self.parts.source.is_streaming();
        let is_streaming = self.phase.is_streaming();
        let deadline = self.phase.deadline();
        let MainLoop { parts, dedup, completions, .. } = self;
        let MainLoopParts { source, publisher, resends, drains, .. } = parts;
        let Publisher { in_flight, values, .. } = publisher;
        // Unbiased: neither WAL intake nor resend commands may starve the other.
        let work = async {
            tokio::select! {
                Some(command) = resends.commands.recv(), if takes_resends => Ok(Input::Resend(command)),
                event = source.next(intake) => event.map(Input::Source),
            }
        };
        // Completions before intake: a completion frees room and advances the slot, intake uses both up.
        tokio::select! {
            biased;
            () = shutdown.requested(), if deadline.is_none() => Ok(Input::StopRequested),
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                Ok(Input::DrainDeadline)
            }
            outcome = in_flight.next(completions) => {
                Ok(outcome.map_or_else(Input::CompletionsFailed, |()| Input::Completed))
            }
            resolved = dedup.next_resolved(), if is_streaming => resolved.map(Input::Resolved),
            (token, queued) = values.next_encoded(), if is_streaming => Ok(Input::Encoded(token, queued)),
            outcome = drains.next_finished(), if is_streaming => outcome.map(Input::Drain),
            () = tick => Ok(Input::Tick),
            input = work => input,
        }
    }

    fn handle(&mut self, input: Input) -> Result<()> {
        let parts = &mut self.parts;
        match input {
            Input::StopRequested => {
                info!(in_flight = parts.ledger.events_in_flight(), "draining");
                self.phase.drain(ExitReason::StopRequested);
            }
            Input::DrainDeadline => {}
            Input::Completed => {
                self.stall.progress();
                parts.publisher.complete(&mut self.completions, &mut parts.ledger)?;
            }
            Input::CompletionsFailed(error) => self.phase.end_now(error),
            Input::Resolved(resolved) => return self.resolve(resolved),
            Input::Encoded(token, queued) => parts.publisher.encoded(token, queued),
            Input::Tick => return self.tick(),
            Input::Source(event) => return self.handle_source(event),
            Input::Resend(command) => return self.take_resends(command),
            Input::Drain(DrainOutcome::Drained(key)) => parts.publisher.drained(key),
            Input::Drain(DrainOutcome::Blocked(key)) => parts.publisher.drain_blocked(&key),
        }
        Ok(())
    }

    fn handle_source(&mut self, event: SourceEvent) -> Result<()> {
        let parts = &mut self.parts;
        match event {
            SourceEvent::Connected(start, _) => {
                parts.ledger.connected(start.horizon);
                parts.decoder.reset();
            }
            SourceEvent::LogChanged(reason) => self.phase.drain(ExitReason::LogChanged(reason)),
            SourceEvent::SlotInUse | SourceEvent::Reconnect => {
                parts.source.connect(parts.ledger.read_position());
            }
            SourceEvent::Frame(frame) => return self.take_frames(frame),
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<()> {
        self.parts.source.check_silence(self.reads_more());
        if let Some(closed) = self.shutdown_probe.closed() {
            self.parts.source.release(closed);
        }
        self.parts.publisher.check_receipts()?;
        let (unacknowledged, unwritten) = self.awaited();
        let in_flight = self.parts.ledger.events_in_flight();
        self.stall.check(&Backlog { in_flight, unacknowledged, unwritten });
        self.report_confirmable();
        Ok(())
    }

    fn reads_more(&self) -> bool {
        !self.parts.replay_only && self.has_room()
    }

    fn has_room(&self) -> bool {
        self.phase.is_streaming() && !self.parts.publisher.is_blocked() && self.parts.ledger.has_room()
    }

    fn awaited(&self) -> (usize, usize) {
        let in_flight = &self.parts.publisher.in_flight;
        (in_flight.unacknowledged(), in_flight.unwritten())
    }

    fn report_confirmable(&mut self) {
        self.parts.source.report(self.parts.ledger.confirmable());
    }

    fn take_resends(&mut self, first: QueuedCommand) -> Result<()> {
        self.parts.publisher.resend(first, &mut self.parts.ledger)?;
        for _ in 1..RESENDS_PER_TURN_MAX {
            self.hand_over();
            if !self.has_room() {
                break;
            }
            let Ok(command) = self.parts.resends.commands.try_recv() else { break };
            self.parts.publisher.resend(command, &mut self.parts.ledger)?;
        }
        Ok(())
    }

    /// Starts to drain released keys, once the WAL up to the session's start is settled: an interrupted drain of an
    /// earlier process may have left rows that the WAL brings again.
    fn start_drains(&mut self) {
        let parts = &mut self.parts;
        if !parts.replay_only && parts.ledger.confirmable() < parts.horizon {
            return;
        }
        while parts.drains.has_room()
            && let Some((drain, skipped)) = parts.publisher.next_drain()
        {
            parts.drains.start(drain, skipped);
        }
    }

    fn publish_settled_position(&self) {
        let confirmable = self.parts.ledger.confirmable();
        self.parts.resends.settled.send_if_modified(|settled| {
            let is_newer = confirmable > *settled;
            *settled = confirmable.max(*settled);
            is_newer
        });
    }

    fn update_gauges(&self) {
        let MainLoopParts { ledger, metrics, .. } = &self.parts;
        metrics.in_flight_events.set(i64::try_from(ledger.events_in_flight()).unwrap_or(i64::MAX));
        metrics.in_flight_bytes.set(i64::try_from(ledger.bytes_in_flight()).unwrap_or(i64::MAX));
    }

    fn take_frames(&mut self, first: Frame) -> Result<()> {
        self.take_frame(first)?;
        for _ in 1..FRAMES_PER_TURN_MAX {
            if !self.reads_more() {
                break;
            }
            let Some(frame) = self.parts.source.buffered()? else { break };
            self.take_frame(frame)?;
        }
        Ok(())
    }

    fn take_frame(&mut self, frame: Frame) -> Result<()> {
        let parts = &mut self.parts;
        match frame {
            Frame::Keepalive { end, reply_requested } => {
                parts.ledger.keepalive(end);
                if reply_requested {
                    parts.source.report(parts.ledger.confirmable());
                }
            }
            Frame::XLogData { data, .. } => match parts.decoder.decode(data)? {
                WalMessage::Begin { final_lsn } => parts.ledger.begin(final_lsn)?,
                WalMessage::Commit { end_lsn } => parts.ledger.commit(end_lsn)?,
                WalMessage::Event(event) => self.take_event(event)?,
                WalMessage::ReplayRequest(notice) => parts.replays.notify(notice),
                WalMessage::Other => {}
            },
        }
        self.hand_over();
        Ok(())
    }

    /// A row inserted with status PUBLISH, COMPLETE or FAILED was published or given up elsewhere. The WAL always
    /// brings it with that status, so the ledger need not know it.
    fn take_event(&mut self, event: Event) -> Result<()> {
        let MainLoopParts { publisher, ledger, .. } = &mut self.parts;
        if publisher.in_flight.writes_back() && !needs_publish(event.status) {
            if event.status == Some(Status::Publish) {
                publisher.inserted_published(&event);
            }
            return Ok(());
        }
        let admission = ledger.event(event.size_bytes())?;
        match admission {
            Admission::Publish(token) => {
                publisher.admitted(token, &event);
                publisher.ready(token, event);
            }
            Admission::LookupFirst(token) | Admission::QueueBehindLookup(token) => {
                publisher.admitted(token, &event);
                self.dedup.push(token, event, matches!(admission, Admission::LookupFirst(_)));
            }
            Admission::AlreadySeen => {}
        }
        Ok(())
    }

    fn resolve(&mut self, resolved: Vec<Resolved>) -> Result<()> {
        self.stall.progress();
        let MainLoopParts { publisher, ledger, .. } = &mut self.parts;
        let (mut delivered, mut failed) = (0_usize, 0_usize);
        for (token, event, status) in resolved {
            match ledger.resolve_lookup(token, status)? {
                LookupOutcome::Publish => publisher.ready(token, event),
                LookupOutcome::Skip => {
                    publisher.skipped(token);
                    match status {
                        Some(Status::Failed) => failed += 1,
                        _ => delivered += 1,
                    }
                }
            }
        }
        if delivered + failed > 0 {
            info!(delivered, failed, "skipped events whose rows are already PUBLISH, COMPLETE or FAILED");
        }
        Ok(())
    }

    /// Hands events over while this process holds the slot: without it, another process may publish them.
    fn hand_over(&mut self) {
        let parts = &mut self.parts;
        if self.phase.is_streaming()
            && parts.source.is_streaming()
            && let Err(reason) = parts.publisher.hand_over_ready(&mut parts.ledger)
        {
            self.phase.drain(reason);
        }
    }
}
