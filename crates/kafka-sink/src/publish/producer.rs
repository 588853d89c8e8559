//! The producer and its thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, PurgeConfig};
use tokio::sync::oneshot;

use crate::publish::context::Context;
use crate::publish::error::{SinkError, SinkErrorKind};

/// How long the producer's thread waits for something to do before it looks whether it is to end.
const TURN: Duration = Duration::from_millis(100);

/// How long a broker that is asked whether it is back may take. Reports wait meanwhile, but there are none.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// How many turns a producer that gave up has to report on what was in flight: long enough for answers that
/// are on their way, and no longer, because a broker may be away as well.
const SETTLING_TURNS_MAX: u32 = 20;

/// How long a closing producer is waited for.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// librdkafka's producer, with a thread that takes what it reports.
///
/// The thread is ours rather than that of rdkafka's `ThreadedProducer`, so that its end is an error to whoever
/// waits for reports, and so that ending the producer, which may block, happens on it.
pub(crate) struct Producer {
    inner: Arc<BaseProducer<Context>>,
    /// Behind the producer, so that it is dropped after it: the last share of the producer is then its
    /// thread's.
    stop: Stop,
    ended: oneshot::Receiver<()>,
}

/// Ends the producer's thread when it is dropped.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How records travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batching {
    /// Together with others of their partition, where there are any.
    Usual,
    /// One by one, so that what the broker says of a batch it says of a record.
    Singles,
}

/// How much may be in flight, and how large a record may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) records_max: usize,
    pub(crate) value_bytes_max: usize,
    pub(crate) record_bytes_max: usize,
    batch_bytes: usize,
}

impl Limits {
    /// As librdkafka would keep them, with at most `reports_max` records.
    pub(crate) fn of(config: &ClientConfig, reports_max: usize) -> Result<Self, SinkError> {
        let native = config.create_native_config().map_err(not_made)?;
        let setting = |name: &str| -> Result<usize, SinkError> {
            let value = native.get(name).map_err(not_made)?;
            let error = || SinkErrorKind::NotMade(format!("{name} = {value} is no number")).into();
            value.parse().map_err(|_| error())
        };
        let records_max = match setting("queue.buffering.max.messages")? {
            0 => reports_max,
            messages_max => reports_max.min(messages_max),
        };
        Ok(Limits {
            records_max,
            value_bytes_max: setting("queue.buffering.max.kbytes")? * 1024,
            record_bytes_max: setting("message.max.bytes")?,
            batch_bytes: setting("batch.size")?,
        })
    }
}

impl Producer {
    /// A producer and its thread.
    pub(crate) fn start(
        config: &ClientConfig,
        limits: Limits,
        batching: Batching,
    ) -> Result<Self, SinkError> {
        let mut config = config.clone();
        // The sink keeps these bounds itself: librdkafka counts a record out only after the report of its
        // whole batch, so its queue can be full when no further report is to come that would say that it is
        // not any more.
        config.set("queue.buffering.max.messages", "0");
        config.set("queue.buffering.max.kbytes", i32::MAX.to_string());
        let mut batch_bytes = limits.batch_bytes;
        if batching == Batching::Singles {
            config.set("batch.num.messages", "1");
            in_turn(&mut config);
            batch_bytes = 0;
        }
        let context = Context::new(limits.records_max, batch_bytes);
        let inner: BaseProducer<Context> = config.create_with_context(context).map_err(not_made)?;
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
        thread.map_err(|error| SinkErrorKind::NotMade(error.to_string()))?;
        Ok(Producer { inner, stop: Stop(stop), ended })
    }

    pub(crate) fn context(&self) -> &Context {
        self.inner.context()
    }

    /// Why the producer is of no use any more, where it is not.
    pub(crate) fn broken(&self) -> Option<SinkError> {
        let inbox = &self.context().inbox;
        if inbox.is_broken() { inbox.broken() } else { None }
    }

    /// The error that librdkafka's producer gave up with, where it did.
    pub(crate) fn fatal_error(&self) -> Option<SinkError> {
        let error = self.inner.client().fatal_error();
        error.map(|(code, reason)| SinkErrorKind::Fatal { code, reason }.into())
    }

    /// Hands over a record, without waiting for anything.
    pub(crate) fn send(&self, record: BaseRecord<'_, [u8], [u8], usize>) -> Result<(), KafkaError> {
        self.inner.send(record).map_err(|(error, _)| error)
    }

    /// A topic that exists, or that the record just sent makes: brokers may be asked about it without harm.
    pub(crate) fn may_ask_about(&self, topic: &Arc<str>) {
        self.context().topic.get_or_init(|| Arc::clone(topic));
    }

    /// Withdraws what is in flight and waits for the end of the producer, a second at most.
    pub(crate) async fn close(self) {
        let Producer { inner, stop, ended } = self;
        drop(inner);
        drop(stop);
        if tokio::time::timeout(CLOSE_WITHIN, ended).await.is_err() {
            tracing::debug!(target: "kafka", "the producer takes its time to end");
        }
    }

    #[cfg(test)]
    pub(crate) fn stop(&self) {
        self.stop.0.store(true, Ordering::Relaxed);
    }
}

/// One request at a time. A broker that knows nothing of a producer yet takes any sequence number for its first, so
/// what is on the wire behind a first record that it refuses would be stored all the same.
fn in_turn(config: &mut ClientConfig) {
    config.set("max.in.flight.requests.per.connection", "1");
}

fn not_made(error: KafkaError) -> SinkError {
    SinkErrorKind::NotMade(error.to_string()).into()
}

/// Takes reports and errors as they come, until it is told to stop.
fn serve(producer: &BaseProducer<Context>, stop: &AtomicBool) {
    let context = producer.context();
    let _sender = context.inbox.sender();
    let mut turns_left = None;
    while !stop.load(Ordering::Relaxed) {
        producer.poll(TURN);
        context.inbox.turn();
        if context.is_to_look()
            && turns_left.is_none()
            && let Some((code, reason)) = producer.client().fatal_error()
        {
            context.inbox.broke(SinkErrorKind::Fatal { code, reason }.into());
            turns_left = Some(SETTLING_TURNS_MAX);
        }
        if let Some(turns) = turns_left.as_mut().filter(|turns| **turns > 0) {
            // librdkafka withdraws what is queued when it gives up, but not what comes back to the queue then.
            producer.purge(PurgeConfig::default().queue());
            *turns = if producer.in_flight_count() == 0 { 0 } else { *turns - 1 };
            if *turns == 0 {
                context.inbox.settled();
            }
        }
        if context.is_to_ask() {
            // About one topic where one is known: about all of them is much to tell in a large cluster.
            let topic = context.topic.get().map(|topic| &**topic);
            context.asked(producer.client().fetch_metadata(topic, ANSWER_WITHIN).is_ok());
        }
        context.tick();
    }
}
