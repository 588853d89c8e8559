//! Logging: to standard error, for people or for machines.

use std::io::IsTerminal;

use anyhow::Context;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::{Log, LogFormat};

/// Starts logging for the whole process.
///
/// # Errors
///
/// Logging was started before.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(&log.level).context("log.level cannot be read")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}

/// Whether it says what to log. A bare word that is no level would be taken for the name of a part, and a
/// misspelt `info` would silence everything else.
pub(crate) fn is_filter(text: &str) -> bool {
    let directives = text.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    let is_word = |directive: &str| !directive.contains(['=', '[', '{', '}']);
    let mut words = directives.filter(|directive| is_word(directive));
    words.all(|word| word.parse::<LevelFilter>().is_ok()) && EnvFilter::builder().parse(text).is_ok()
}
