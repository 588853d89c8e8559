//! The producer and its thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, PurgeConfig};
use tokio::sync::oneshot;

use crate::publish::error::{SinkError, SinkErrorKind};
use crate::publish::partitioner::KeyPartitioner;
use crate::publish::producer_context::SinkContext;
use crate::stop_on_drop::StopOnDrop;

/// The longest wait of the producer's thread before it checks whether to stop.
const POLL_MAX: Duration = Duration::from_millis(100);

/// The timeout of a probe. No reports are served during it, but during an outage there are none.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// How many polls a failed producer gets to report on the records in flight: long enough for answers on the wire, and
/// no longer, because the broker may be unreachable.
const SETTLING_POLLS_MAX: u32 = 20;

/// The longest wait for a closing producer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// librdkafka's producer, and the thread that polls it.
///
/// The thread is not that of rdkafka's `ThreadedProducer`, so that its end is an error for the receiver of reports, and
/// so that it also destroys the producer, which may block.
pub(crate) struct Producer {
    inner: Arc<BaseProducer<SinkContext, KeyPartitioner>>,
    /// Declared after the producer, so that it is dropped after it: the thread then owns the last reference.
    stop: StopOnDrop,
    ended: oneshot::Receiver<()>,
}

/// How records are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendMode {
    /// In batches per partition.
    Batches,
    /// One by one, so that an error of a batch is an error of one record.
    Singles,
}

/// Limits of the records in flight and of the record size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProducerLimits {
    pub(crate) records_max: usize,
    pub(crate) value_bytes_max: usize,
    pub(crate) record_bytes_max: usize,
    batch_bytes: usize,
}

impl ProducerLimits {
    /// The limits that librdkafka would enforce, with at most `reports_max` records.
    pub(crate) fn of(config: &ClientConfig, reports_max: usize) -> Result<Self, SinkError> {
        let native = config.create_native_config().map_err(not_created)?;
        let setting = |name: &str| -> Result<usize, SinkError> {
            let value = native.get(name).map_err(not_created)?;
            let error = || SinkErrorKind::NotCreated(format!("{name} = {value} is not a number")).into();
            value.parse().map_err(|_| error())
        };
        let records_max = match setting("queue.buffering.max.messages")? {
            0 => reports_max,
            messages_max => reports_max.min(messages_max),
        };
        Ok(ProducerLimits {
            records_max,
            value_bytes_max: setting("queue.buffering.max.kbytes")? * 1024,
            record_bytes_max: setting("message.max.bytes")?,
            batch_bytes: setting("batch.size")?,
        })
    }
}

impl Producer {
    /// Creates a producer and starts its thread.
    pub(crate) fn start(
        config: &ClientConfig,
        limits: ProducerLimits,
        send_mode: SendMode,
    ) -> Result<Self, SinkError> {
        let mut config = config.clone();
        // The sink enforces these limits itself. librdkafka releases a record only after the reports of its whole
        // batch, so its queue can be full while no further report would signal that it no longer is.
        config.set("queue.buffering.max.messages", "0");
        config.set("queue.buffering.max.kbytes", i32::MAX.to_string());
        let mut batch_bytes = limits.batch_bytes;
        if send_mode == SendMode::Singles {
            config.set("batch.num.messages", "1");
            batch_bytes = 0;
        }
        let partitioner = config.get("partitioner").unwrap_or_default().to_owned();
        if partitioner == "murmur2" {
            // Otherwise librdkafka chooses the partition of a record without a key itself.
            config.set("sticky.partitioning.linger.ms", "0");
        }
        let context = SinkContext::new(limits.records_max, batch_bytes, KeyPartitioner::new(&partitioner));
        let inner: BaseProducer<SinkContext, KeyPartitioner> =
            config.create_with_context(context).map_err(not_created)?;
        let inner = Arc::new(inner);
        let stop = Arc::new(AtomicBool::new(false));
        let (end, ended) = oneshot::channel();
        let work = {
            let (inner, stop) = (Arc::clone(&inner), Arc::clone(&stop));
            move || {
                serve(&inner, &stop);
                drop(inner);
                let _ = end.send(());
            }
        };
        let thread = thread::Builder::new().name("kafka-producer".to_owned()).spawn(work);
        thread.map_err(|error| SinkErrorKind::NotCreated(error.to_string()))?;
        Ok(Producer { inner, stop: StopOnDrop::new(&stop), ended })
    }

    pub(crate) fn context(&self) -> &SinkContext {
        self.inner.context()
    }

    /// Why the producer has failed, if it has.
    pub(crate) fn failure(&self) -> Option<SinkError> {
        let reports = &self.context().reports;
        if reports.has_failed() { reports.failure() } else { None }
    }

    /// librdkafka's fatal error, if there is one.
    pub(crate) fn fatal_error(&self) -> Option<SinkError> {
        let error = self.inner.client().fatal_error();
        error.map(|(code, reason)| SinkErrorKind::Fatal { code, reason }.into())
    }

    /// Queues a record. Never blocks.
    pub(crate) fn send(&self, record: BaseRecord<'_, [u8], [u8], usize>) -> Result<(), KafkaError> {
        self.inner.send(record).map_err(|(error, _)| error)
    }

    /// Probes may request the metadata of this topic: it exists, or the record just sent creates it.
    pub(crate) fn may_probe(&self, topic: &Arc<str>) {
        self.context().probe_topic.get_or_init(|| Arc::clone(topic));
    }

    /// Drops the records in flight and waits for the end of the producer, a second at most.
    pub(crate) async fn close(self) {
        let Producer { inner, stop, ended } = self;
        drop(inner);
        drop(stop);
        if tokio::time::timeout(CLOSE_TIMEOUT, ended).await.is_err() {
            tracing::debug!(target: "kafka", "producer is still closing");
        }
    }

    #[cfg(test)]
    pub(crate) fn stop(&self) {
        self.stop.stop();
    }
}

fn not_created(error: KafkaError) -> SinkError {
    SinkErrorKind::NotCreated(error.to_string()).into()
}

/// Polls the producer until it is stopped.
fn serve(producer: &BaseProducer<SinkContext, KeyPartitioner>, stop: &AtomicBool) {
    let context = producer.context();
    let _end = context.reports.end_on_drop();
    let mut polls_left = None;
    while !stop.load(Ordering::Relaxed) {
        producer.poll(POLL_MAX);
        context.reports.polled();
        if context.take_may_be_fatal()
            && polls_left.is_none()
            && let Some((code, reason)) = producer.client().fatal_error()
        {
            context.reports.fail(SinkErrorKind::Fatal { code, reason }.into());
        }
        if polls_left.is_none() && context.reports.has_failed() {
            polls_left = Some(SETTLING_POLLS_MAX);
        }
        if let Some(polls) = polls_left.as_mut().filter(|polls| **polls > 0) {
            // librdkafka purges its queue at a fatal error, but not the records that are queued again after it.
            producer.purge(PurgeConfig::default().queue());
            *polls = if producer.in_flight_count() == 0 { 0 } else { *polls - 1 };
            if *polls == 0 {
                context.reports.settle();
            }
        }
        if context.needs_probe() {
            // The metadata of all topics is large in a large cluster.
            let topic = context.probe_topic.get().map(|topic| &**topic);
            context.probed(producer.client().fetch_metadata(topic, PROBE_TIMEOUT).is_ok());
        }
        context.tick();
    }
}
