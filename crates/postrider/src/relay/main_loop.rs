//! The one loop that owns the ledger: read → route → produce → acknowledged → written back → confirm.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Error, Result};
use outbox::{Admission, Event, InFlightLedger, LookupOutcome, Lsn, Status, needs_publish};
use reconciler::{QueuedCommand, ReplayNotifier};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};
use wal_reader::{Frame, Intake};

use crate::relay::exit::Ending;
use crate::relay::publish::dispatch::Dispatch;
use crate::relay::publish::held_key_drain::{Released, Releases};
use crate::relay::publish::in_flight::Delivered;
use crate::relay::shutdown::Shutdown;
use crate::relay::source::connection::{Arrival, Source};
use crate::relay::source::decode::{Inbox, Letter};
use crate::relay::source::dedup::{Answered, Resent};
use crate::relay::source::shutdown_probe::ServerWatch;
use crate::relay::stall::Stall;
use crate::relay::store::Rows;

/// Carries events from the source, and from those who plan, to the dispatch, and the account of them in the
/// [`InFlightLedger`].
pub(super) struct Pump {
    pub(super) source: Source,
    pub(super) dispatch: Dispatch,
    ledger: InFlightLedger,
    inbox: Inbox,
    rows: Rows,
    server: ServerWatch,
    resent: Resent,
    stall: Stall,
    pub(super) planning: Planning,
    pub(super) releases: Releases,
    pub(super) replays: ReplayNotifier,
    phase: Phase,
    delivered: Vec<Delivered>,
}

/// What a life's pump is made of.
pub(super) struct Parts {
    /// Connected, and the ledger is informed.
    pub(super) source: Source,
    pub(super) dispatch: Dispatch,
    pub(super) inbox: Inbox,
    pub(super) rows: Rows,
    pub(super) ledger: InFlightLedger,
    pub(super) planning: Planning,
    pub(super) releases: Releases,
    pub(super) replays: ReplayNotifier,
}

/// Where planned work comes from.
pub(super) struct Planning {
    pub(super) intake: reconciler::ResendIntake,
    /// Whether nothing else is done: the log is left unread.
    pub(super) alone: bool,
    /// The end of the log when the life began.
    pub(super) horizon: Lsn,
}

enum Phase {
    Streaming,
    /// Nothing more is read; what is in flight is brought to its end, as far as it goes until `until`.
    /// Of the failures only the first is kept; what follows from it is counted in `later`.
    Draining {
        until: Option<Instant>,
        ending: Ending,
        later: usize,
    },
}

/// Everything that can happen to the pump.
#[expect(clippy::large_enum_variant, reason = "one at a time, and handled at once")]
enum Happening {
    StopAsked,
    TimeIsUp,
    Delivered,
    /// What is in flight will never be reported on.
    Broken(Error),
    Answered(Vec<Answered>),
    Tick,
    Arrived(Arrival),
    Planned(QueuedCommand),
    Released(Released),
}

/// Frames taken in one go before completions are looked at again.
const FRAMES_PER_TURN_MAX: usize = 512;

/// Planned work taken in one go, a little at a time so that live rows hardly wait.
const PLANNED_PER_TURN_MAX: usize = 64;

/// The process is gone within 10 s of being asked; this leaves the rest for the goodbyes.
const DRAIN_MAX: Duration = Duration::from_secs(7);

impl Pump {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { source, dispatch, inbox, rows, ledger, planning, releases, replays } = parts;
        let server = ServerWatch::start(rows.postgres.clone(), rows.tls.clone());
        Pump {
            source,
            dispatch,
            ledger,
            inbox,
            rows,
            server,
            resent: Resent::default(),
            stall: Stall::default(),
            planning,
            releases,
            replays,
            phase: Phase::Streaming,
            delivered: Vec::new(),
        }
    }

    /// Runs until it is asked to stop or cannot go on, and drains. Afterwards nothing acknowledged is
    /// unwritten and the source knows what may be confirmed, as far as the time for draining allowed.
    pub(super) async fn run(&mut self, shutdown: &mut Shutdown) -> Ending {
        let mut tick: Pin<Box<_>> = Box::pin(sleep(self.source.status_interval()));
        loop {
            if let Some(ending) = self.ended() {
                self.source.report(self.ledger.confirmable());
                return ending;
            }
            let happening = self.happening(shutdown, tick.as_mut()).await;
            if matches!(happening, Ok(Happening::Tick)) {
                tick.set(sleep(self.source.status_interval()));
            }
            if let Err(error) = happening.and_then(|happening| self.handle(happening)) {
                self.drain(Ending::Failed(error));
            }
            if matches!(self.phase, Phase::Streaming) {
                self.offer();
                let rows = &self.rows;
                self.resent.ask(|ids| Box::pin(rows.clone().statuses(ids)));
                self.let_go();
            }
            self.tell_settled();
        }
    }

    async fn happening(
        &mut self,
        shutdown: &mut Shutdown,
        tick: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Happening> {
        let intake = if self.takes_more() { Intake::Open } else { Intake::Closed };
        let takes_planned = self.has_room() && self.source.is_up();
        let Pump { source, dispatch, resent, phase, delivered, planning, releases, .. } = self;
        let (is_streaming, until) = match phase {
            Phase::Streaming => (true, None),
            Phase::Draining { until, .. } => (false, *until),
        };
        // Neither the log nor those who plan may keep the other waiting, so chance decides between them.
        let work = async {
            tokio::select! {
                Some(planned) = planning.intake.commands.recv(), if takes_planned => Ok(Happening::Planned(planned)),
                arrival = source.next(intake) => arrival.map(Happening::Arrived),
            }
        };
        // Completions before intake: what ends makes room and moves the slot, what begins takes both.
        tokio::select! {
            biased;
            () = shutdown.asked(), if until.is_none() => Ok(Happening::StopAsked),
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => Ok(Happening::TimeIsUp),
            outcome = dispatch.delivery.progress(delivered) => {
                Ok(outcome.map_or_else(Happening::Broken, |()| Happening::Delivered))
            }
            answered = resent.answered(), if is_streaming => answered.map(Happening::Answered),
            released = releases.ended(), if is_streaming => released.map(Happening::Released),
            () = tick => Ok(Happening::Tick),
            happening = work => happening,
        }
    }

    fn handle(&mut self, happening: Happening) -> Result<()> {
        match happening {
            Happening::StopAsked => {
                info!(in_flight = self.ledger.events_in_flight(), "asked to stop: draining");
                self.drain(Ending::Asked);
            }
            Happening::Delivered => return self.account(),
            Happening::Broken(error) => self.stop(Ending::Failed(error), Some(Instant::now())),
            Happening::Answered(answered) => return self.take_answers(answered),
            Happening::Tick => {
                self.source.check_silence(self.takes_more());
                if let Some(closed) = self.server.closed() {
                    self.source.release(closed);
                }
                self.dispatch.check_receipts()?;
                self.stall.check(&self.ledger, &self.dispatch);
                self.source.report(self.ledger.confirmable());
            }
            Happening::TimeIsUp => {}
            Happening::Arrived(Arrival::Connected(taken)) => {
                self.ledger.connected(taken.horizon);
                self.inbox.connected();
            }
            Happening::Arrived(Arrival::Anew(reason)) => self.drain(Ending::OtherLog(reason)),
            Happening::Arrived(Arrival::SlotTaken | Arrival::Reconnect) => {
                self.source.connect(self.ledger.read_position())
            }
            Happening::Arrived(Arrival::Frame(frame)) => return self.take_frames(frame),
            Happening::Planned(planned) => return self.take_planned(planned),
            Happening::Released(Released::Emptied(lane)) => self.dispatch.emptied(lane),
            Happening::Released(Released::HeldAgain(lane)) => self.dispatch.stopped(&lane),
        }
        Ok(())
    }

    fn takes_more(&self) -> bool {
        !self.planning.alone && self.has_room()
    }

    fn has_room(&self) -> bool {
        matches!(self.phase, Phase::Streaming) && !self.dispatch.is_waiting() && self.ledger.has_room()
    }

    fn take_planned(&mut self, first: QueuedCommand) -> Result<()> {
        self.dispatch.plan(first, &mut self.ledger)?;
        for _ in 1..PLANNED_PER_TURN_MAX {
            self.offer();
            if !self.has_room() {
                break;
            }
            let Ok(planned) = self.planning.intake.commands.try_recv() else { break };
            self.dispatch.plan(planned, &mut self.ledger)?;
        }
        Ok(())
    }

    /// Begins to let keys go whose heads are out of the way. Rows of a line that the log brings again are to have
    /// found their place in it before: an earlier life may have been in the middle of letting them go.
    fn let_go(&mut self) {
        if !self.planning.alone && self.ledger.confirmable() < self.planning.horizon {
            return;
        }
        while self.releases.has_room()
            && let Some((release, skipped)) = self.dispatch.next_release()
        {
            self.releases.start(release, skipped);
        }
    }

    fn tell_settled(&self) {
        let now = self.ledger.confirmable();
        self.planning.intake.settled.send_if_modified(|known| {
            let moved = now > *known;
            *known = now.max(*known);
            moved
        });
    }

    fn take_frames(&mut self, first: Frame) -> Result<()> {
        self.take_frame(first)?;
        for _ in 1..FRAMES_PER_TURN_MAX {
            if !self.takes_more() {
                break;
            }
            let Some(frame) = self.source.buffered()? else { break };
            self.take_frame(frame)?;
        }
        Ok(())
    }

    fn take_frame(&mut self, frame: Frame) -> Result<()> {
        match frame {
            Frame::Keepalive { end, reply_requested } => {
                self.ledger.keepalive(end);
                if reply_requested {
                    self.source.report(self.ledger.confirmable());
                }
            }
            Frame::XLogData { data, .. } => match self.inbox.open(data)? {
                Letter::Begin { final_lsn } => self.ledger.begin(final_lsn)?,
                Letter::Commit { end_lsn } => self.ledger.commit(end_lsn)?,
                Letter::Row(event) => self.take_row(event)?,
                Letter::ReplayRequest(notice) => self.replays.notify(notice),
                Letter::Other => {}
            },
        }
        self.offer();
        Ok(())
    }

    /// A row that was inserted with a status of ours is taken at its word: it was published elsewhere, or given up.
    /// The row is the same every time the log brings it, so it may be left out of the account of events.
    fn take_row(&mut self, event: Event) -> Result<()> {
        if self.dispatch.delivery.writes_back() && !needs_publish(event.status) {
            if event.status == Some(Status::Publish) {
                self.dispatch.inserted_published(&event);
            }
            return Ok(());
        }
        let admission = self.ledger.event(event.size_bytes())?;
        match admission {
            Admission::Publish(token) => {
                self.dispatch.admitted(token, &event);
                self.dispatch.is_ready(token, event);
            }
            Admission::LookupFirst(token) | Admission::QueueBehindLookup(token) => {
                self.dispatch.admitted(token, &event);
                self.resent.gather(token, event, matches!(admission, Admission::LookupFirst(_)));
            }
            Admission::AlreadySeen => {}
        }
        Ok(())
    }

    fn take_answers(&mut self, answered: Vec<Answered>) -> Result<()> {
        self.stall.moved();
        let mut skipped = 0_usize;
        for (token, event, row) in answered {
            match self.ledger.resolve_lookup(token, row)? {
                LookupOutcome::Publish => self.dispatch.is_ready(token, event),
                LookupOutcome::Skip => {
                    self.dispatch.skipped(token);
                    if row == Some(Status::Failed) {
                        info!(id = %event.id, "left out, because its row says FAILED");
                    } else {
                        skipped += 1;
                    }
                }
            }
        }
        if skipped > 0 {
            info!(rows = skipped, "sent again by the server and published already: skipped");
        }
        Ok(())
    }

    /// Hands what is ready to the producer, until that is full.
    fn offer(&mut self) {
        // Only who holds the slot publishes: while the connection is lost, somebody else may.
        if matches!(self.phase, Phase::Streaming)
            && self.source.is_up()
            && let Err(ending) = self.dispatch.offer(&mut self.ledger)
        {
            self.drain(ending);
        }
    }

    fn account(&mut self) -> Result<()> {
        self.stall.moved();
        for ending in self.dispatch.account(&mut self.delivered, &mut self.ledger)? {
            self.drain(ending);
        }
        Ok(())
    }

    /// The first reason to stop is the one that counts. Whoever asks to stop, or waits for the reason, waits a
    /// limited time; a lost producer is nobody's hurry, and what it delivered is to be written back first.
    fn drain(&mut self, ending: Ending) {
        let by = match ending {
            Ending::ProducerLost(_) | Ending::Refused => None,
            Ending::Asked | Ending::Failed(_) | Ending::OtherLog(_) => Some(Instant::now() + DRAIN_MAX),
        };
        self.stop(ending, by);
    }

    fn stop(&mut self, ending: Ending, by: Option<Instant>) {
        match &mut self.phase {
            Phase::Streaming => self.phase = Phase::Draining { until: by, ending, later: 0 },
            Phase::Draining { until, ending: first, later } => {
                *until = [*until, by].into_iter().flatten().min();
                if first.gives_way_to(&ending) {
                    *first = ending;
                } else {
                    *later += usize::from(matches!(ending, Ending::Failed(_)));
                }
            }
        }
    }

    /// The reason to stop, once draining has come to its end or its time.
    fn ended(&mut self) -> Option<Ending> {
        let Phase::Draining { until, later, .. } = &self.phase else { return None };
        let (publishing, writing) = (self.dispatch.delivery.publishing(), self.dispatch.delivery.writing());
        let awaited = publishing + writing;
        if awaited > 0 && until.is_none_or(|until| Instant::now() < until) {
            return None;
        }
        if awaited > 0 {
            warn!(
                unacknowledged = publishing,
                unwritten = writing,
                "not all that is in flight came to its end; the next start sends what is left"
            );
        }
        if *later > 0 {
            warn!("{later} more failures followed the first");
        }
        match std::mem::replace(&mut self.phase, Phase::Streaming) {
            Phase::Draining { ending, .. } => Some(ending),
            Phase::Streaming => None,
        }
    }
}
