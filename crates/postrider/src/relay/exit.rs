//! Why a life of the relay ends.

use anyhow::Error;
use kafka_sink::SinkError;

/// Why the pump stops.
pub(super) enum Ending {
    /// It was asked to.
    Asked,
    /// The producer is of no use any more; a new one is to start where this one left off.
    ProducerLost(SinkError),
    /// Kafka refused a row, and with it the producer is of no use any more. The next life knows, and sets the row
    /// aside.
    Refused,
    /// What it remembers of the log is of no use any more.
    OtherLog(String),
    /// It cannot go on.
    Failed(Error),
}

impl Ending {
    /// Whether a later reason says more: what a person has to mend goes before what mends itself, and a known
    /// refusal before the loss that it causes.
    pub(super) fn gives_way_to(&self, later: &Ending) -> bool {
        match (self, later) {
            (Ending::Asked, Ending::Asked) => false,
            (Ending::Asked, _) => true,
            (Ending::ProducerLost(first), Ending::ProducerLost(later)) => {
                first.is_transient() && !later.is_transient()
            }
            (Ending::ProducerLost(first), Ending::Refused) => first.is_transient(),
            (Ending::Refused, Ending::ProducerLost(later)) => !later.is_transient(),
            (
                Ending::ProducerLost(_) | Ending::Refused | Ending::OtherLog(_),
                Ending::Failed(_) | Ending::Asked,
            ) => true,
            _ => false,
        }
    }
}
