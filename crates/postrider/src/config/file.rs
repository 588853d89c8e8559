//! The configuration file: which one, and its text as a table.

use std::io;
use std::path::PathBuf;

use super::problem::{Origin, Problem};
use super::source::Source;

/// The variable that names the configuration file.
pub(crate) const FILE_VARIABLE: &str = "POSTRIDER_CONFIG";

const DEFAULT_FILE: &str = "postrider.toml";

/// The file's table; empty when there is no file to read. What cannot be read is a problem.
pub(crate) fn table(source: &Source, problems: &mut Vec<Problem>) -> toml::Table {
    let from_variable = || {
        let name = source.variables.get(std::ffi::OsStr::new(FILE_VARIABLE))?;
        (!name.is_empty()).then(|| (PathBuf::from(name), Origin::Variable(FILE_VARIABLE.to_owned())))
    };
    let named = source.file.clone().map(|path| (path, Origin::Unset)).or_else(from_variable);
    let must_exist = named.is_some();
    let (path, origin) = named.unwrap_or_else(|| (PathBuf::from(DEFAULT_FILE), Origin::Unset));
    let mut problem = |message| {
        problems.push(Problem { key: path.display().to_string(), origin: origin.clone(), message });
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
            problem(syntax(&text, &error));
            toml::Table::new()
        }
    }
}

/// The place and the parser's words, without the line itself: it may hold a password.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().lines().next().unwrap_or("it is no TOML");
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return format!("it is no TOML: {message}");
    };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    format!("it is no TOML at line {line}, column {column}: {message}")
}
