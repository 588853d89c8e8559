//! librdkafka properties, some of which are secrets.

use std::collections::BTreeMap;
use std::fmt;

/// The properties set under `[kafka.properties]`. `Debug` hides the secrets.
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

/// Whether the property's value is a secret, which may also be given as `…_file` (librdkafka, CONFIGURATION.md).
/// Decided by the words in the name, so that secrets added by later versions of librdkafka are covered.
pub(crate) fn is_secret(name: &str) -> bool {
    const WORDS: [&str; 4] = ["password", "passphrase", "secret", "key.pem"];
    // Holds the credentials of some OAUTHBEARER mechanisms.
    name == "sasl.oauthbearer.config" || WORDS.iter().any(|word| name.contains(word))
}

/// `COMPRESSION_TYPE` is `compression.type`; `SASL_PASSWORD_FILE` is `sasl.password_file`.
pub(crate) fn name_from_variable(rest: &str) -> String {
    let dotted = rest.to_ascii_lowercase().replace('_', ".");
    match dotted.strip_suffix(".file") {
        Some(secret) if is_secret(secret) => format!("{secret}_file"),
        _ => dotted,
    }
}
