use std::time::Duration;

use uuid::Uuid;

/// How requests are carried out.
#[derive(Clone, Copy, Debug)]
pub struct ReplayOptions {
    /// Nobody else publishes, the log is not read, and it is over once this request is finished.
    pub alone: Option<Uuid>,
    /// How often it is noted how far a request has come, and looked whether it was called off.
    pub save_every: Duration,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        ReplayOptions { alone: None, save_every: Duration::from_secs(1) }
    }
}
