//! The names that may be set, without the librdkafka properties.

use crate::config::key::AnyKey;
use crate::config::keys;

/// Every key, and the `…_file` keys of the secret ones.
pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    const SECRET_FILES: &[&str] = &["postgres.url_file"];
    keys::all().map(AnyKey::name).chain(SECRET_FILES.iter().copied())
}

/// Whether the name is a key.
pub(crate) fn is_key(name: &str) -> bool {
    all().any(|known| known == name)
}

/// The section of every key.
pub(crate) fn sections() -> impl Iterator<Item = &'static str> {
    all().filter_map(|name| name.split('.').next())
}
