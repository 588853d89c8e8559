//! The producer and the write-back behind it, as one source of completions.

use anyhow::{Context, Result};
use kafka_sink::{DeliveryReport, SinkError, WriteBack, Written};
use outbox::{Token, WriteBackSummary};
use outbox_store::RowUpdate;

use crate::relay::publish::producer::{ProducerEvent, ReplaceableProducer};

/// What the producer and the write-back hold.
pub(crate) struct InFlight {
    pub(crate) producer: ReplaceableProducer,
    write_back: Option<WriteBack>,
    /// Row updates submitted and not yet durable.
    unwritten: usize,
    reports: Vec<DeliveryReport>,
    written: Written,
}

/// A completion.
pub(crate) enum Completion {
    /// The broker or the producer reported on a record.
    Reported(DeliveryReport),
    /// The producer ended; no report comes for what it had.
    ProducerEnded,
    /// A new producer takes records.
    ProducerRestarted,
    /// No producer can be started any more.
    ProducerFailed(SinkError),
    /// The row update is durable.
    Written(Token),
    /// What a durable batch means for the deadlines.
    Summary(WriteBackSummary),
}

impl InFlight {
    pub(crate) fn new(producer: ReplaceableProducer, write_back: Option<WriteBack>) -> Self {
        InFlight { producer, write_back, unwritten: 0, reports: Vec::new(), written: Written::default() }
    }

    pub(crate) fn writes_back(&self) -> bool {
        self.write_back.is_some()
    }

    /// Records handed to the producer without a report.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.producer.in_flight()
    }

    /// Row updates that are not durable yet.
    pub(crate) fn unwritten(&self) -> usize {
        self.unwritten
    }

    /// Queues a row update; no effect where write-back is disabled.
    pub(crate) fn write(&mut self, token: Token, update: RowUpdate) -> Result<()> {
        if let Some(write_back) = &mut self.write_back {
            write_back.submit(token, update)?;
            self.unwritten += 1;
        }
        Ok(())
    }

    /// Waits for at least one completion and appends all there are. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The write-back ended.
    pub(crate) async fn next(&mut self, completions: &mut Vec<Completion>) -> Result<()> {
        let InFlight { producer, write_back, reports, written, .. } = self;
        let write_back = async {
            match write_back {
                Some(write_back) => write_back.written(written).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            outcome = write_back => outcome.context("could not write deliveries back to the outbox table")?,
            event = producer.next(reports) => match event {
                Ok(ProducerEvent::Reports) => {}
                Ok(ProducerEvent::Ended) => completions.push(Completion::ProducerEnded),
                Ok(ProducerEvent::Restarted) => completions.push(Completion::ProducerRestarted),
                Err(error) => completions.push(Completion::ProducerFailed(error)),
            },
        }
        self.unwritten -= self.written.tokens.len();
        completions.extend(self.written.tokens.drain(..).map(Completion::Written));
        completions.extend(self.written.summaries.drain(..).map(Completion::Summary));
        completions.extend(self.reports.drain(..).map(Completion::Reported));
        Ok(())
    }

    /// Withdraws what is still queued or on the wire.
    pub(crate) async fn close(self) {
        self.producer.close().await;
    }
}
