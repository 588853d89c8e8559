use std::time::Duration;

/// When a row is stuck, and for how long it is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconcileOptions {
    /// How long a row may say INIT after the log brought it.
    pub init_after: Duration,
    /// How long a row may say PUBLISH before it is looked into, which is also the first pause between two sendings;
    /// `None` where nobody follows rows beyond PUBLISH.
    pub publish_after: Option<Duration>,
    /// How often a row is sent at most; `None` for no limit.
    pub attempts_max: Option<u32>,
}
