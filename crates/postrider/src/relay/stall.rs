//! Noticing that nothing moves although nobody has said why.

use std::time::Duration;

use outbox::InFlightLedger;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::relay::publish::dispatch::Dispatch;

/// How long nothing may move before a person is told. Outages are told sooner, by those who meet them.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// Says once that what is in flight has not moved for a while, and where it stands: a lock on an outbox row
/// and a partition short of in-sync replicas are no errors to anybody.
pub(super) struct Stall {
    moved: Instant,
    is_told: bool,
}

impl Default for Stall {
    fn default() -> Self {
        Stall { moved: Instant::now(), is_told: false }
    }
}

impl Stall {
    /// Something has come nearer to its end.
    pub(super) fn moved(&mut self) {
        if self.is_told {
            info!(after_s = self.moved.elapsed().as_secs(), "what is in flight moves again");
        }
        *self = Stall::default();
    }

    /// Looks whether there is something to tell.
    pub(super) fn check(&mut self, ledger: &InFlightLedger, dispatch: &Dispatch) {
        if ledger.events_in_flight() == 0 {
            *self = Stall::default();
        }
        if self.moved.elapsed() < STALLED_AFTER || self.is_told {
            return;
        }
        self.is_told = true;
        let (unacknowledged, unwritten) = (dispatch.delivery.publishing(), dispatch.delivery.writing());
        warn!(
            in_flight = ledger.events_in_flight(),
            unacknowledged,
            unwritten,
            "what is in flight has not moved for {STALLED_AFTER:?}; waiting, nothing is lost. If rows are \
             unacknowledged, look at Kafka (min.insync.replicas); if they are unwritten, look for locks on the \
             outbox table (pg_locks)"
        );
    }
}
