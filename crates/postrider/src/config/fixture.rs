//! A source for tests: files and variables made up.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{BadConfig, Config, Loaded, Source};

/// What is required, so that a test says only what it is about.
pub(crate) const REQUIRED: [(&str, &str); 2] = [
    ("POSTRIDER_POSTGRES_URL", "postgres://shop:hunter2@db/shop"),
    ("POSTRIDER_KAFKA_BROKERS", "broker:9092"),
];

/// The file named `postrider.toml`, variables, and further files.
pub(crate) fn source(toml: Option<&str>, variables: &[(&str, &str)], files: &[(&str, &str)]) -> Source {
    let mut files: BTreeMap<PathBuf, Vec<u8>> =
        files.iter().map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec())).collect();
    if let Some(toml) = toml {
        files.insert(PathBuf::from("postrider.toml"), toml.as_bytes().to_vec());
    }
    let read = move |path: &Path| files.get(path).cloned().ok_or(io::Error::from(io::ErrorKind::NotFound));
    Source {
        file: None,
        variables: variables.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        read: Box::new(read),
    }
}

/// With [`REQUIRED`] given.
pub(crate) fn load(toml: &str, variables: &[(&str, &str)]) -> Result<Loaded, BadConfig> {
    let variables = [&REQUIRED[..], variables].concat();
    Config::load(&source(Some(toml), &variables, &[]))
}

/// The problems as they are printed.
pub(crate) fn problems(result: Result<Loaded, BadConfig>) -> Vec<String> {
    result.expect_err("a bad configuration").problems.iter().map(ToString::to_string).collect()
}
