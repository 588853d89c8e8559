use std::time::Duration;

use uuid::Uuid;

/// How replay requests are executed.
#[derive(Clone, Copy, Debug)]
pub struct ReplayOptions {
    /// Without a relay: the WAL is not read and nothing else is published. Only the unfinished requests up to this one
    /// are executed.
    pub standalone: Option<Uuid>,
    /// How often the progress of a request is saved, and its cancellation noticed.
    pub save_every: Duration,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        ReplayOptions { standalone: None, save_every: Duration::from_secs(1) }
    }
}
