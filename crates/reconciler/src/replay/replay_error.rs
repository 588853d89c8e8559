use outbox_store::StoreError;

use crate::resend_command::SessionClosed;

/// Why a replay stopped before its end.
pub(super) enum ReplayError {
    SessionClosed,
    /// Not retryable.
    Store(StoreError),
}

impl From<SessionClosed> for ReplayError {
    fn from(_: SessionClosed) -> Self {
        ReplayError::SessionClosed
    }
}

impl From<StoreError> for ReplayError {
    fn from(error: StoreError) -> Self {
        ReplayError::Store(error)
    }
}
