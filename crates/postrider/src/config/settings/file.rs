//! Finds and parses the configuration file.

use std::io;
use std::path::PathBuf;

use crate::config::problem::{ConfigProblem, ValueOrigin};
use crate::config::settings::config_source::ConfigSource;

/// The variable that names the configuration file.
pub(crate) const FILE_VARIABLE: &str = "POSTRIDER_CONFIG";

const DEFAULT_FILE: &str = "postrider.toml";

/// The parsed file; empty if there is none. The default file may be absent, a named one may not.
pub(crate) fn table(source: &ConfigSource, problems: &mut Vec<ConfigProblem>) -> toml::Table {
    let from_variable = || {
        let name = source.variables.get(std::ffi::OsStr::new(FILE_VARIABLE))?;
        (!name.is_empty()).then(|| (PathBuf::from(name), ValueOrigin::Variable(FILE_VARIABLE.to_owned())))
    };
    let named = source.file.clone().map(|path| (path, ValueOrigin::Unset)).or_else(from_variable);
    let must_exist = named.is_some();
    let (path, origin) = named.unwrap_or_else(|| (PathBuf::from(DEFAULT_FILE), ValueOrigin::Unset));
    let mut problem = |message| {
        problems.push(ConfigProblem { key: path.display().to_string(), origin: origin.clone(), message });
    };
    let bytes = match (source.read)(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => return toml::Table::new(),
        Err(error) => {
            problem(format!("the configuration file cannot be read: {error}"));
            return toml::Table::new();
        }
    };
    let Ok(text) = String::from_utf8(bytes) else {
        problem("the configuration file is not UTF-8 text".to_owned());
        return toml::Table::new();
    };
    match text.parse() {
        Ok(table) => table,
        Err(error) => {
            problem(syntax_error(&text, &error));
            toml::Table::new()
        }
    }
}

/// The position and the parser's message, without the line itself, which may contain a password.
fn syntax_error(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().lines().next().unwrap_or("syntax error");
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return format!("invalid TOML: {message}");
    };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    format!("invalid TOML at line {line}, column {column}: {message}")
}
