//! The values of the environment variables, which override the configuration file.

use std::collections::BTreeMap;

use crate::config::key::variable;
use crate::config::keys;
use crate::config::problem::{ConfigProblem, ValueOrigin};
use crate::config::sections::kafka_properties::name_from_variable;
use crate::config::settings::config_source::ConfigSource;
use crate::config::settings::file::FILE_VARIABLE;
use crate::config::settings::names;
use crate::config::settings::raw_value::RawValue;
use crate::config::settings::suggest::most_similar;
use crate::config::settings::values::{SetValue, Settings};

/// Adds the values of all non-empty variables `POSTRIDER_…`. Unknown ones are only warned about: Kubernetes sets
/// variables for every service, so one named `postrider` brings `POSTRIDER_SERVICE_HOST` and others.
pub(crate) fn add(settings: &mut Settings, source: &ConfigSource) {
    let keys_by_variable: BTreeMap<String, &str> = names::all().map(|name| (variable(name), name)).collect();
    let properties = format!("{}_", variable(keys::PROPERTIES));
    for (name, value) in &source.variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with("POSTRIDER_")) else { continue };
        if value.is_empty() || name == FILE_VARIABLE {
            continue;
        }
        let key = keys_by_variable.get(name).map(|key| (*key).to_owned());
        let property = name.strip_prefix(&properties).filter(|rest| !rest.is_empty()).map(name_from_variable);
        if key.is_none() && property.is_none() {
            let known = keys_by_variable.keys().map(String::as_str);
            let similar = most_similar(name, known).unwrap_or_default();
            settings.warnings.push(format!("{name} is no known variable; did you mean {similar}?"));
            continue;
        }
        let origin = ValueOrigin::Variable(name.to_owned());
        let Some(text) = value.to_str() else {
            let key = key.or(property).unwrap_or_default();
            let message = "is not UTF-8 text".to_owned();
            settings.problems.push(ConfigProblem { key, origin, message });
            continue;
        };
        let set = SetValue { raw: RawValue::Untyped(text.to_owned()), origin };
        match (key, property) {
            (Some(key), _) => settings.values.insert(key, set),
            (None, Some(property)) => settings.properties.insert(property, set),
            (None, None) => None,
        };
    }
}
