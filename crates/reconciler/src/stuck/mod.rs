//! Finding rows that missed their deadline, and commanding what has to happen to them.

mod init_rows;
mod options;
mod outage;
mod publish_rows;
mod reconcile;
mod resend_backoff;
mod round;
mod round_error;
mod round_summary;
mod startup_scan;

pub use options::ReconcileOptions;
pub use reconcile::reconcile;
pub use startup_scan::StartupScan;
