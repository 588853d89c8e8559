//! `[routing]`: the topic and key of a record.

use outbox::Columns;

use crate::config::keys;
use crate::config::settings::values::Settings;

/// The section `[routing]`.
#[derive(Clone, Debug)]
pub struct RoutingConfig {
    /// The topic template.
    pub topic: String,
    /// The key template.
    pub key: String,
    /// Both templates, compiled. The user's own columns that they read are listed in [`Columns::others`] of
    /// [`Config::columns`](crate::config::Config::columns), in the same order.
    pub compiled: kafka_sink::Routing,
}

/// Reads the section, and adds the user's own columns that the templates read to `columns`.
pub(crate) fn read(settings: &mut Settings, columns: &mut Columns) -> Option<RoutingConfig> {
    // Templates use the table's column names, so the defaults follow [columns].
    let mapped = |default: &str| {
        let named = default.replace("{aggregate_type}", &format!("{{{}}}", columns.aggregate_type));
        named.replace("{aggregate_id}", &format!("{{{}}}", columns.aggregate_id))
    };
    let mut template = |key| Some(settings.optional(key)?.or_else(|| key.default.map(mapped)));
    let (topic, key) = (template(&keys::TOPIC), template(&keys::KEY));
    let (topic, key) = (topic??, key??);
    match kafka_sink::Routing::compile(&topic, &key, columns) {
        Ok(compiled) => Some(RoutingConfig { topic, key, compiled }),
        Err(error) => {
            for (key, problem) in error.problems() {
                settings.reject(key, problem.to_owned());
            }
            None
        }
    }
}
