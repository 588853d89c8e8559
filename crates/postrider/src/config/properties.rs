//! librdkafka's properties, some of which are secrets.

use std::collections::BTreeMap;
use std::fmt;

/// What is set under `[kafka.properties]`. Its `Debug` leaves the secrets out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaProperties(pub BTreeMap<String, String>);

impl fmt::Debug for KafkaProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(name, value)| (name, if is_secret(name) { "…" } else { value });
        f.debug_map()
            .entries(self.0.iter().map(|(name, value)| shown((name.as_str(), value.as_str()))))
            .finish()
    }
}

/// Whether the property's value must not be shown, and may be given as `…_file` (librdkafka,
/// CONFIGURATION.md). By its words, so that a secret of a later librdkafka is one here too.
pub(crate) fn is_secret(name: &str) -> bool {
    const WORDS: [&str; 4] = ["password", "passphrase", "secret", "key.pem"];
    // Its text holds the credentials of some mechanisms among other things.
    name == "sasl.oauthbearer.config" || WORDS.iter().any(|word| name.contains(word))
}

/// `COMPRESSION_TYPE` is `compression.type`, and `SASL_PASSWORD_FILE` the file of a secret.
pub(crate) fn name_from_variable(rest: &str) -> String {
    let dotted = rest.to_ascii_lowercase().replace('_', ".");
    match dotted.strip_suffix(".file") {
        Some(secret) if is_secret(secret) => format!("{secret}_file"),
        _ => dotted,
    }
}
