//! Finding rows that missed their deadline, and submitting what has to happen to them.

mod init;
mod options;
mod outage;
mod publish;
mod reconcile;
pub(crate) mod resend_backoff;
mod round;
mod round_error;
mod round_summary;

pub use options::ReconcileOptions;
pub use reconcile::reconcile;
pub use resend_backoff::{Backoff, Resend};
