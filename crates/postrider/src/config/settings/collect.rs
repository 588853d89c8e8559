//! Collects the values that are set.

use crate::config::settings::config_source::ConfigSource;
use crate::config::settings::values::Settings;
use crate::config::settings::{file, secret_files, table, variables};

/// Reads the configuration file, the environment variables and the secret files.
pub(crate) fn collect(source: &ConfigSource) -> Settings {
    let mut settings = Settings::default();
    let file = file::table(source, &mut settings.problems);
    settings.file_unread = !settings.problems.is_empty();
    table::add(&mut settings, file);
    variables::add(&mut settings, source);
    secret_files::read(&mut settings, source);
    settings
}
