use outbox_store::StoreError;

use crate::evidence::kafka_evidence::BrokerAway;
use crate::resend_command::LifeOver;

/// Why a round of work was not finished.
pub(super) enum Trouble {
    LifeOver,
    Store(StoreError),
    Broker(BrokerAway),
}

impl From<LifeOver> for Trouble {
    fn from(_: LifeOver) -> Self {
        Trouble::LifeOver
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Trouble::Store(error)
    }
}

impl From<BrokerAway> for Trouble {
    fn from(away: BrokerAway) -> Self {
        Trouble::Broker(away)
    }
}
