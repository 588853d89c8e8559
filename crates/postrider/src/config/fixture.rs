//! Configuration sources for tests.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::settings::config_source::ConfigSource;

/// The required keys.
pub(crate) const REQUIRED: [(&str, &str); 2] = [
    ("POSTRIDER_POSTGRES_URL", "postgres://shop:hunter2@db/shop"),
    ("POSTRIDER_KAFKA_BROKERS", "broker:9092"),
];

/// The content of `postrider.toml`, environment variables, and further files.
pub(crate) fn source(toml: Option<&str>, variables: &[(&str, &str)], files: &[(&str, &str)]) -> ConfigSource {
    let mut files: BTreeMap<PathBuf, Vec<u8>> =
        files.iter().map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec())).collect();
    if let Some(toml) = toml {
        files.insert(PathBuf::from("postrider.toml"), toml.as_bytes().to_vec());
    }
    let read = move |path: &Path| files.get(path).cloned().ok_or(io::Error::from(io::ErrorKind::NotFound));
    ConfigSource {
        file: None,
        variables: variables.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        read: Box::new(read),
    }
}
