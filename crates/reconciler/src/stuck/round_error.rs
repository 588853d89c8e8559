use outbox_store::StoreError;

use crate::evidence::kafka_evidence::EvidenceUnavailable;
use crate::resend_command::SessionClosed;

/// Why a round was not finished.
pub(super) enum RoundError {
    SessionClosed,
    Store(StoreError),
    Evidence(EvidenceUnavailable),
}

impl From<SessionClosed> for RoundError {
    fn from(_: SessionClosed) -> Self {
        RoundError::SessionClosed
    }
}

impl From<StoreError> for RoundError {
    fn from(error: StoreError) -> Self {
        RoundError::Store(error)
    }
}

impl From<EvidenceUnavailable> for RoundError {
    fn from(error: EvidenceUnavailable) -> Self {
        RoundError::Evidence(error)
    }
}
