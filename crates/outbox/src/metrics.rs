//! Every counter and gauge of the relay, in one value.
//!
//! The relay owns one [`Metrics`] for the life of its process. Whatever counts something holds a clone of it (the
//! clones share their values) and increments a field; incrementing never blocks. Names follow the Prometheus naming
//! conventions: base units, `_total` for counters. No metric has a label taken from a row.

use prometheus::core::Collector;
use prometheus::{Error, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Why an event was published again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepublishCause {
    /// An operator's replay request.
    Replay,
    /// The reconciler found the row stuck.
    Reconciler,
    /// The row's key was held back and is released.
    HeldKey,
}

impl RepublishCause {
    const fn label(self) -> &'static str {
        match self {
            RepublishCause::Replay => "replay",
            RepublishCause::Reconciler => "reconciler",
            RepublishCause::HeldKey => "held_key",
        }
    }
}

/// Which connection was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The replication connection.
    Replication,
    /// The Kafka producer.
    Producer,
}

impl Component {
    const fn label(self) -> &'static str {
        match self {
            Component::Replication => "replication",
            Component::Producer => "producer",
        }
    }
}

/// The relay's counters and gauges. Clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// Outbox rows read from the WAL.
    pub events_read: IntCounter,
    /// Records acknowledged by the broker, dead letters apart.
    pub events_published: IntCounter,
    /// Events skipped because their row was already PUBLISH, COMPLETE or FAILED.
    pub events_already_delivered: IntCounter,
    /// Records that the broker or the client library rejected.
    pub records_rejected: IntCounter,
    /// Dead letters acknowledged by the broker.
    pub dead_letters_published: IntCounter,
    /// Row updates that are durable.
    pub rows_written_back: IntCounter,
    /// Rows that went from PUBLISH to COMPLETE.
    pub rows_completed: IntCounter,
    /// Rows marked FAILED.
    pub rows_failed: IntCounter,
    /// Rows held behind a failed row of their key.
    pub rows_held: IntCounter,
    /// Receipts that changed no row: it is gone, COMPLETE already, or FAILED.
    pub receipts_without_effect: IntCounter,
    /// Consumed records that belong to no row: without a valid `id` header, or dead letters.
    pub records_without_id: IntCounter,
    /// Events in flight: read and not yet settled.
    pub in_flight_events: IntGauge,
    /// Bytes of the events in flight.
    pub in_flight_bytes: IntGauge,
    /// Keys whose rows wait behind a failed row.
    pub held_keys: IntGauge,
    republished: IntCounterVec,
    reconnects: IntCounterVec,
}

impl Metrics {
    /// All values zero, each metric registered in a registry of its own.
    ///
    /// # Errors
    ///
    /// Two metrics have one name, or a name is not a valid one: a bug.
    pub fn new() -> Result<Self, Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| register(&registry, IntCounter::new(name, help)?);
        let gauge = |name: &str, help: &str| register(&registry, IntGauge::new(name, help)?);
        let counters = |name: &str, help: &str, label: &str| {
            register(&registry, IntCounterVec::new(Opts::new(name, help), &[label])?)
        };
        Ok(Metrics {
            events_read: counter("postrider_events_read_total", "Outbox rows read from the WAL.")?,
            events_published: counter(
                "postrider_events_published_total",
                "Records acknowledged by the broker.",
            )?,
            events_already_delivered: counter(
                "postrider_events_already_delivered_total",
                "Events skipped because their row was already PUBLISH, COMPLETE or FAILED.",
            )?,
            records_rejected: counter(
                "postrider_records_rejected_total",
                "Records that the broker or the client library rejected.",
            )?,
            dead_letters_published: counter(
                "postrider_dead_letters_published_total",
                "Dead letters acknowledged by the broker.",
            )?,
            rows_written_back: counter("postrider_rows_written_back_total", "Row updates that are durable.")?,
            rows_completed: counter(
                "postrider_rows_completed_total",
                "Rows that went from PUBLISH to COMPLETE.",
            )?,
            rows_failed: counter("postrider_rows_failed_total", "Rows marked FAILED.")?,
            rows_held: counter("postrider_rows_held_total", "Rows held behind a failed row of their key.")?,
            receipts_without_effect: counter(
                "postrider_receipts_without_effect_total",
                "Receipts that changed no row: it is gone, COMPLETE already, or FAILED.",
            )?,
            records_without_id: counter(
                "postrider_records_without_id_total",
                "Consumed records that belong to no row.",
            )?,
            in_flight_events: gauge("postrider_in_flight_events", "Events read and not yet settled.")?,
            in_flight_bytes: gauge("postrider_in_flight_bytes", "Bytes of the events in flight.")?,
            held_keys: gauge("postrider_held_keys", "Keys whose rows wait behind a failed row.")?,
            republished: counters(
                "postrider_events_republished_total",
                "Events published again, by cause.",
                "cause",
            )?,
            reconnects: counters(
                "postrider_reconnects_total",
                "Connections lost and made again, by component.",
                "component",
            )?,
            registry,
        })
    }

    /// Events published again for this cause.
    pub fn republished(&self, cause: RepublishCause) -> IntCounter {
        self.republished.with_label_values(&[cause.label()])
    }

    /// Connections of this component that were lost.
    pub fn reconnects(&self, component: Component) -> IntCounter {
        self.reconnects.with_label_values(&[component.label()])
    }

    /// The registry that an exporter gathers from.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

fn register<M: Collector + Clone + 'static>(registry: &Registry, metric: M) -> Result<M, Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_registered_once_each_and_clones_share_values() {
        let metrics = Metrics::new().expect("names are valid and distinct");
        metrics.clone().events_read.inc_by(3);
        metrics.clone().republished(RepublishCause::Replay).inc();
        metrics.reconnects(Component::Producer).inc();
        let families = metrics.registry().gather();
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name() == name).expect(name);
            family.get_metric()[0].get_counter().get_value()
        };
        assert_eq!(value("postrider_events_read_total"), 3.0);
        assert_eq!(value("postrider_events_republished_total"), 1.0);
        assert!(families.iter().all(|family| family.name().starts_with("postrider_")));
    }
}
