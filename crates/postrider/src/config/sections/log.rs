//! `[log]`: what is logged, and in which format.

use crate::config::keys;
use crate::config::settings::values::Settings;

/// The section `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The format of a line.
    pub format: LogFormat,
    /// The filter, in the syntax of `tracing_subscriber::EnvFilter`.
    pub level: String,
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Human-readable text.
    Text,
    /// One JSON object per line.
    Json,
}

/// Reads the section.
pub(crate) fn read(settings: &mut Settings) -> Option<LogConfig> {
    let format = settings.value(&keys::LOG_FORMAT);
    let level = settings.value(&keys::LOG_LEVEL);
    let format = if format? == "json" { LogFormat::Json } else { LogFormat::Text };
    Some(LogConfig { format, level: level? })
}
