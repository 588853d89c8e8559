//! `[log]`.

use super::keys;
use super::settings::Settings;

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// What is logged, as `tracing-subscriber`'s `EnvFilter` reads it.
    pub level: String,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

pub(super) fn log(settings: &mut Settings) -> Option<Log> {
    let format = settings.value(&keys::LOG_FORMAT);
    let level = settings.value(&keys::LOG_LEVEL);
    let format = if format? == "json" { LogFormat::Json } else { LogFormat::Text };
    Some(Log { format, level: level? })
}
