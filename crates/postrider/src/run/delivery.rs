//! From an event to its acknowledged record and its written row.

use std::sync::Arc;

use anyhow::{Context, Result};
use kafka_sink::{
    Failure, PublishError, Refusal, Report, RowChange, Sink, SinkError, What, WriteBack, Written,
};
use outbox::{Event, Token};
use uuid::Uuid;

/// The sink and, when it is enabled, the write-back behind it, with what each event in their hands needs
/// to be written back.
pub(super) struct Delivery {
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
    id: Uuid,
    xid: Option<u32>,
    created_at_us: Option<i64>,
    topic: Arc<str>,
}

/// What has become of an event.
pub(super) enum Delivered {
    Acknowledged(Token),
    Written(Token),
    Refused(Uuid, Refusal),
    /// The producer gave up, and with it this event or all that it still held.
    Lost(SinkError),
}

impl Delivery {
    pub(super) fn new(sink: Sink, write_back: Option<WriteBack>) -> Self {
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
    pub(super) fn publishing(&self) -> usize {
        self.publishing
    }

    /// Events acknowledged and not yet written back.
    pub(super) fn writing(&self) -> usize {
        self.writing
    }

    /// Hands the event to the producer. Events of a key are published in the order of these calls.
    pub(super) fn publish(&mut self, token: Token, event: &Event) -> Result<(), PublishError> {
        let topic = self.sink.publish(event, token, None)?;
        let index = token.to_usize();
        if self.parcels.len() <= index {
            self.parcels.resize_with(index + 1, || None);
        }
        self.parcels[index] =
            Some(Parcel { id: event.id, xid: event.xid, created_at_us: event.created_at_us, topic });
        self.publishing += 1;
        Ok(())
    }

    /// Waits until something has become of at least one event, and appends it. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The write-back has ended: what it holds will never be written.
    pub(super) async fn progress(&mut self, delivered: &mut Vec<Delivered>) -> Result<()> {
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
        self.written.tallies.clear();
        self.writing -= self.written.tokens.len();
        delivered.extend(self.written.tokens.drain(..).map(Delivered::Written));
        for report in std::mem::take(&mut self.reports) {
            delivered.extend(self.reported(report)?);
        }
        Ok(())
    }

    /// Drops what is still queued or on the wire.
    pub(super) async fn close(self) {
        self.sink.close().await;
    }

    fn reported(&mut self, Report { token, outcome }: Report) -> Result<Option<Delivered>> {
        let parcel = self.parcels.get_mut(token.to_usize()).and_then(Option::take);
        let Parcel { id, xid, created_at_us, topic } =
            parcel.context("Kafka reported on a record that was never published")?;
        self.publishing -= 1;
        match outcome {
            Ok(place) => {
                if let Some(write_back) = &mut self.write_back {
                    let what = What::Published { topic, place };
                    write_back.submit(RowChange { token, id, xid, created_at_us, what })?;
                    self.writing += 1;
                }
                Ok(Some(Delivered::Acknowledged(token)))
            }
            Err(Failure::Refused(refusal)) => Ok(Some(Delivered::Refused(id, refusal))),
            Err(Failure::Lost(error)) => Ok(Some(Delivered::Lost(error))),
        }
    }
}
