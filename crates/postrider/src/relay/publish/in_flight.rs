//! From an event to its acknowledged record and its written row.

use std::sync::Arc;

use anyhow::{Context, Result};
use kafka_sink::{
    Failure, PartitionOffset, PublishError, Refusal, Report, Sink, SinkError, WriteBack, Written,
};
use outbox::{Event, OrderingKey, RecordPosition, Token, WriteBackSummary};
use outbox_store::{RowUpdate, RowUpdateKind};
use reconciler::ResendCause;
use uuid::Uuid;

/// The sink and, when it is enabled, the write-back behind it, with what each event in their hands needs
/// to be written back.
pub(crate) struct Delivery {
    sink: Sink,
    /// The producer has given up, and every record has its report.
    sink_has_ended: bool,
    write_back: Option<WriteBack>,
    /// By token. Tokens are used again, so this is as long as the most events ever in flight.
    parcels: Vec<Option<Parcel>>,
    publishing: usize,
    writing: usize,
    reports: Vec<Report>,
    written: Written,
}

struct Parcel {
    row: RowRef,
    topic: Arc<str>,
    purpose: Purpose,
}

/// What a write-back has to know of a row.
#[derive(Clone, Copy)]
pub(crate) struct RowRef {
    pub(crate) id: Uuid,
    pub(crate) xid: Option<u32>,
    pub(crate) created_at_us: Option<i64>,
}

impl From<&Event> for RowRef {
    fn from(event: &Event) -> Self {
        RowRef { id: event.id, xid: event.xid, created_at_us: event.created_at_us }
    }
}

/// What a record is for.
enum Purpose {
    /// The log brought the row.
    Live,
    /// Somebody wants it sent again.
    Planned,
    /// The row cannot be published, for this reason, and this is its dead letter.
    DeadLetter { reason: String, sent: bool },
}

/// What has become of an event.
pub(crate) enum Delivered {
    /// The broker has its record there.
    Acknowledged(Token, RecordPosition),
    /// The broker has its dead letter.
    Buried(Token),
    Written(Token),
    /// The broker refused its record, or its dead letter.
    Refused {
        token: Token,
        id: Uuid,
        refusal: Refusal,
        was_dead_letter: bool,
    },
    /// What the rows written say to those who count.
    Counted(WriteBackSummary),
    /// The producer gave up, and with it this event or all that it still held.
    Lost(SinkError),
}

impl Delivery {
    pub(crate) fn new(sink: Sink, write_back: Option<WriteBack>) -> Self {
        Delivery {
            sink,
            sink_has_ended: false,
            write_back,
            parcels: Vec::new(),
            publishing: 0,
            writing: 0,
            reports: Vec::new(),
            written: Written::default(),
        }
    }

    /// Events handed to the producer and not yet reported on.
    pub(crate) fn publishing(&self) -> usize {
        self.publishing
    }

    /// Changes of rows that are not yet durable.
    pub(crate) fn writing(&self) -> usize {
        self.writing
    }

    /// Whether rows are written at all.
    pub(crate) fn writes_back(&self) -> bool {
        self.write_back.is_some()
    }

    /// What order is kept within for the event.
    pub(crate) fn lane(&mut self, event: &Event) -> Option<OrderingKey> {
        self.sink.lane(event)
    }

    /// The topic of the event's record, where it has one.
    pub(crate) fn topic(&mut self, event: &Event) -> Option<Arc<str>> {
        self.sink.topic(event).ok()
    }

    /// Hands the event to the producer. Events of a key are published in the order of these calls.
    pub(crate) fn publish(
        &mut self,
        token: Token,
        event: &Event,
        cause: Option<ResendCause>,
    ) -> Result<(), PublishError> {
        let mut id = Uuid::encode_buffer();
        let replay = match cause {
            Some(ResendCause::Replay(request)) => Some(&*request.hyphenated().encode_lower(&mut id)),
            Some(ResendCause::Reconciler) => Some("reconciler"),
            Some(ResendCause::HeldKey) | None => None,
        };
        let topic = self.sink.publish(event, token, replay)?;
        let purpose = if cause.is_some() { Purpose::Planned } else { Purpose::Live };
        self.keep(token, Parcel { row: event.into(), topic, purpose });
        Ok(())
    }

    /// Hands an event that cannot be published to the topic of dead letters.
    pub(crate) fn bury(
        &mut self,
        token: Token,
        event: &Event,
        topic: &Arc<str>,
        reason: &str,
        sent: bool,
    ) -> Result<(), PublishError> {
        let topic = self.sink.publish_dead_letter(event, token, topic, reason)?;
        let purpose = Purpose::DeadLetter { reason: reason.to_owned(), sent };
        self.keep(token, Parcel { row: event.into(), topic, purpose });
        Ok(())
    }

    /// Has a row changed that no record is waited for.
    pub(crate) fn write(&mut self, token: Token, row: RowRef, kind: RowUpdateKind) -> Result<()> {
        if let Some(write_back) = &mut self.write_back {
            let RowRef { id, xid, created_at_us } = row;
            write_back.submit(token, RowUpdate { id, xid, created_at_us, kind })?;
            self.writing += 1;
        }
        Ok(())
    }

    /// Waits until something has become of at least one event, and appends it. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The write-back has ended: what it holds will never be written.
    pub(crate) async fn progress(&mut self, delivered: &mut Vec<Delivered>) -> Result<()> {
        let Delivery { sink, sink_has_ended, write_back, reports, written, .. } = self;
        let write_back = async {
            match write_back {
                Some(write_back) => write_back.written(written).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            outcome = write_back => outcome.context("delivery cannot be written back to the outbox table")?,
            outcome = sink.reports(reports), if !*sink_has_ended => if let Err(error) = outcome {
                *sink_has_ended = true;
                self.publishing = 0;
                delivered.push(Delivered::Lost(error));
            },
        }
        self.writing -= self.written.tokens.len();
        delivered.extend(self.written.tokens.drain(..).map(Delivered::Written));
        delivered.extend(self.written.summaries.drain(..).map(Delivered::Counted));
        for report in std::mem::take(&mut self.reports) {
            delivered.push(self.reported(report)?);
        }
        Ok(())
    }

    /// Drops what is still queued or on the wire.
    pub(crate) async fn close(self) {
        self.sink.close().await;
    }

    fn keep(&mut self, token: Token, parcel: Parcel) {
        let index = token.to_usize();
        if self.parcels.len() <= index {
            self.parcels.resize_with(index + 1, || None);
        }
        self.parcels[index] = Some(parcel);
        self.publishing += 1;
    }

    fn reported(&mut self, Report { token, outcome }: Report) -> Result<Delivered> {
        let parcel = self.parcels.get_mut(token.to_usize()).and_then(Option::take);
        let Parcel { row, topic, purpose } =
            parcel.context("Kafka reported on a record that was never published")?;
        self.publishing -= 1;
        let at = match outcome {
            Ok(PartitionOffset { partition, offset }) => RecordPosition { topic, partition, offset },
            Err(Failure::Refused(refusal)) => {
                let was_dead_letter = matches!(purpose, Purpose::DeadLetter { .. });
                return Ok(Delivered::Refused { token, id: row.id, refusal, was_dead_letter });
            }
            Err(Failure::Lost(error)) => return Ok(Delivered::Lost(error)),
        };
        let kind = match purpose {
            Purpose::Live => RowUpdateKind::Published(at.clone()),
            Purpose::Planned => RowUpdateKind::Resent(at.clone()),
            Purpose::DeadLetter { reason, sent } => {
                self.write(token, row, RowUpdateKind::Failed { reason, sent, head_of: None })?;
                return Ok(Delivered::Buried(token));
            }
        };
        self.write(token, row, kind)?;
        Ok(Delivered::Acknowledged(token, at))
    }
}
