//! The one loop that owns the pipeline: read → route → produce → acknowledged → written back → confirm.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use kafka_sink::{PublishError, Refusal, SinkError};
use outbox::{Admission, Event, Pipeline, Status, Token, Verdict};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};
use uuid::Uuid;
use wal_reader::{Frame, Intake};

use super::delivery::{Delivered, Delivery};
use super::inbox::{Inbox, Letter};
use super::resent::{Answered, Resent};
use super::rows::Rows;
use super::server_watch::ServerWatch;
use super::shutdown::Shutdown;
use super::source::{Arrival, Source};
use super::stall::Stall;

/// Carries events from the source to the delivery and the account of them in the [`Pipeline`].
pub(super) struct Pump {
    pub(super) source: Source,
    pub(super) delivery: Delivery,
    pipeline: Pipeline,
    inbox: Inbox,
    rows: Rows,
    server: ServerWatch,
    resent: Resent,
    stall: Stall,
    /// Events admitted and not yet taken by the producer, in order. Nothing is read while there are any.
    ready: VecDeque<(Token, Event)>,
    phase: Phase,
    delivered: Vec<Delivered>,
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

/// Why the pump stops.
pub(super) enum Ending {
    /// It was asked to.
    Asked,
    /// The producer is of no use any more; a new one is to start where this one left off.
    ProducerLost(SinkError),
    /// What it remembers of the log is of no use any more.
    OtherLog(String),
    /// It cannot go on.
    Failed(Error),
}

impl Ending {
    /// Whether a later reason says more: what a person has to mend goes before what mends itself.
    fn gives_way_to(&self, later: &Ending) -> bool {
        match (self, later) {
            (Ending::Asked, Ending::Asked) => false,
            (Ending::Asked, _) => true,
            (Ending::ProducerLost(first), Ending::ProducerLost(later)) => {
                first.is_transient() && !later.is_transient()
            }
            (Ending::ProducerLost(_) | Ending::OtherLog(_), Ending::Failed(_) | Ending::Asked) => true,
            _ => false,
        }
    }
}

/// Everything that can happen to the pump.
enum Happening {
    StopAsked,
    TimeIsUp,
    Delivered,
    /// What is in flight will never be reported on.
    Broken(Error),
    Answered(Vec<Answered>),
    Tick,
    Arrived(Arrival),
}

/// Frames taken in one go before completions are looked at again.
const FRAMES_PER_TURN_MAX: usize = 512;

/// The process is gone within 10 s of being asked; this leaves the rest for the goodbyes.
const DRAIN_MAX: Duration = Duration::from_secs(7);

impl Pump {
    /// The source is connected, and the pipeline knows.
    pub(super) fn new(
        source: Source,
        delivery: Delivery,
        inbox: Inbox,
        rows: Rows,
        pipeline: Pipeline,
    ) -> Self {
        let server = ServerWatch::start(rows.postgres.clone(), rows.tls.clone());
        Pump {
            source,
            delivery,
            pipeline,
            inbox,
            rows,
            server,
            resent: Resent::default(),
            stall: Stall::default(),
            ready: VecDeque::new(),
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
                self.source.report(self.pipeline.confirmable());
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
            }
        }
    }

    async fn happening(
        &mut self,
        shutdown: &mut Shutdown,
        tick: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Happening> {
        let intake = if self.takes_more() { Intake::Open } else { Intake::Closed };
        let Pump { source, delivery, resent, phase, delivered, .. } = self;
        let (is_streaming, until) = match phase {
            Phase::Streaming => (true, None),
            Phase::Draining { until, .. } => (false, *until),
        };
        // Completions before intake: what ends makes room and moves the slot, what begins takes both.
        tokio::select! {
            biased;
            () = shutdown.asked(), if until.is_none() => Ok(Happening::StopAsked),
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => Ok(Happening::TimeIsUp),
            outcome = delivery.progress(delivered) => Ok(outcome.map_or_else(Happening::Broken, |()| Happening::Delivered)),
            answered = resent.answered(), if is_streaming => answered.map(Happening::Answered),
            () = tick => Ok(Happening::Tick),
            arrival = source.next(intake) => arrival.map(Happening::Arrived),
        }
    }

    fn handle(&mut self, happening: Happening) -> Result<()> {
        match happening {
            Happening::StopAsked => {
                info!(in_flight = self.pipeline.events_in_flight(), "asked to stop: draining");
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
                self.stall.check(&self.pipeline, &self.delivery);
                self.source.report(self.pipeline.confirmable());
            }
            Happening::TimeIsUp => {}
            Happening::Arrived(Arrival::Connected(taken)) => {
                self.pipeline.connected(taken.horizon);
                self.inbox.connected();
            }
            Happening::Arrived(Arrival::Anew(reason)) => self.drain(Ending::OtherLog(reason)),
            Happening::Arrived(Arrival::Reconnect) => self.source.connect(self.pipeline.read_position()),
            Happening::Arrived(Arrival::Frame(frame)) => return self.take_frames(frame),
        }
        Ok(())
    }

    fn takes_more(&self) -> bool {
        matches!(self.phase, Phase::Streaming) && self.ready.is_empty() && self.pipeline.has_room()
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
                self.pipeline.keepalive(end);
                if reply_requested {
                    self.source.report(self.pipeline.confirmable());
                }
            }
            Frame::XLogData { data, .. } => match self.inbox.open(data)? {
                Letter::Begin { final_lsn } => self.pipeline.begin(final_lsn)?,
                Letter::Commit { end_lsn } => self.pipeline.commit(end_lsn)?,
                Letter::Row(event) => match self.pipeline.event(event.size_bytes())? {
                    Admission::Publish(token) => self.ready.push_back((token, event)),
                    Admission::Ask(token) => self.resent.gather(token, event, true),
                    Admission::Behind(token) => self.resent.gather(token, event, false),
                    Admission::Drop => {}
                },
                Letter::Other => {}
            },
        }
        self.offer();
        Ok(())
    }

    fn take_answers(&mut self, answered: Vec<Answered>) -> Result<()> {
        self.stall.moved();
        let mut skipped = 0_usize;
        for (token, event, row) in answered {
            match self.pipeline.answered(token, row)? {
                Verdict::Publish => self.ready.push_back((token, event)),
                Verdict::Skip if row == Some(Status::Failed) => {
                    info!(id = %event.id, "left out, because its row says FAILED");
                }
                Verdict::Skip => skipped += 1,
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
        let may_publish = matches!(self.phase, Phase::Streaming) && self.source.is_up();
        while may_publish && let Some((token, event)) = self.ready.front() {
            match self.delivery.publish(*token, event) {
                Ok(()) => {
                    self.ready.pop_front();
                }
                Err(PublishError::Full) => return,
                Err(PublishError::Refused(refusal)) => {
                    let id = event.id;
                    return self.refused(id, &refusal);
                }
                Err(PublishError::Broken(error)) => return self.drain(Ending::ProducerLost(error)),
            }
        }
    }

    fn account(&mut self) -> Result<()> {
        self.stall.moved();
        for delivered in std::mem::take(&mut self.delivered) {
            match delivered {
                Delivered::Acknowledged(token) => self.pipeline.acknowledged(token)?,
                Delivered::Written(token) => self.pipeline.written(token)?,
                Delivered::Refused(id, refusal) => self.refused(id, &refusal),
                Delivered::Lost(error) => self.drain(Ending::ProducerLost(error)),
            }
        }
        Ok(())
    }

    fn refused(&mut self, id: Uuid, refusal: &Refusal) {
        self.drain(Ending::Failed(anyhow!(
            "row {id} cannot be published: {refusal}. The relay stops before it: the slot is not confirmed \
             past this row, and the next start meets it again, as it was inserted: to change the row is of no \
             use. Remove the cause, or leave the row out ({}), then start the relay",
            self.rows.leave_out_sql(id)
        )));
    }

    /// The first reason to stop is the one that counts. Whoever asks to stop, or waits for the reason, waits a
    /// limited time; a lost producer is nobody's hurry, and what it delivered is to be written back first.
    fn drain(&mut self, ending: Ending) {
        let by = match ending {
            Ending::ProducerLost(_) => None,
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
        let (publishing, writing) = (self.delivery.publishing(), self.delivery.writing());
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
