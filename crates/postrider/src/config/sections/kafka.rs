//! `[kafka]`: the brokers and the librdkafka properties.

use std::fmt;

use rdkafka::ClientConfig;

use crate::config::keys;
use crate::config::sections::kafka_properties::KafkaProperties;
use crate::config::settings::values::Settings;

/// The section `[kafka]`.
#[derive(Clone)]
pub struct KafkaConfig {
    /// `host:port`, at least one.
    pub brokers: Vec<String>,
    /// The librdkafka properties that were set.
    pub properties: KafkaProperties,
    /// The client configuration made of both and of Postrider's defaults.
    pub client: ClientConfig,
}

/// Reads the section.
pub(crate) fn read(settings: &mut Settings) -> Option<KafkaConfig> {
    let brokers = settings.required(&keys::BROKERS);
    let properties = KafkaProperties(settings.properties());
    // The properties are checked even if the brokers are missing.
    let joined = brokers.as_ref().map_or("none:1".to_owned(), |brokers| brokers.join(","));
    match kafka_sink::client_config(&joined, &properties.0) {
        Ok(client) => Some(KafkaConfig { brokers: brokers?, properties, client }),
        Err(problems) => {
            for problem in problems {
                settings.reject(&problem.key, problem.reason);
            }
            None
        }
    }
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}
