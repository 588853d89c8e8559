//! The values that are set, by key, and the problems found while reading them.

use std::collections::BTreeMap;

use crate::config::key::{AnyKey, ConfigKey, variable};
use crate::config::keys;
use crate::config::problem::{ConfigProblem, ValueOrigin};
use crate::config::settings::raw_value::RawValue;

/// A value that is set, and where.
#[derive(Clone)]
pub(crate) struct SetValue {
    pub(crate) raw: RawValue,
    pub(crate) origin: ValueOrigin,
}

/// The values that are set, and the problems found so far. Reading an invalid value adds a problem, so that all
/// problems are known once all keys have been read.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) values: BTreeMap<String, SetValue>,
    pub(crate) properties: BTreeMap<String, SetValue>,
    pub(crate) problems: Vec<ConfigProblem>,
    pub(crate) warnings: Vec<String>,
    /// The file could not be read, so a missing required key is no further problem.
    pub(crate) file_unread: bool,
}

impl Settings {
    /// The value of a key, or its default if it is not set; `None` if it has neither or is invalid.
    pub(crate) fn value<T: PartialEq>(&mut self, key: &ConfigKey<T>) -> Option<T> {
        let default = || key.default.and_then(|text| (key.parse)(&RawValue::Untyped(text.to_owned())));
        self.optional(key)?.or_else(default)
    }

    /// The value of a key; `Some(None)` if it is not set, `None` if it is invalid. Ignores the default.
    pub(crate) fn optional<T: PartialEq>(&mut self, key: &ConfigKey<T>) -> Option<Option<T>> {
        let Some(set) = self.values.get(key.name) else { return Some(None) };
        let value = (key.parse)(&set.raw);
        if value.is_none() {
            self.problems.push(rejection(key, set));
        }
        value.map(Some)
    }

    /// The value of a key that has no default.
    pub(crate) fn required<T: PartialEq>(&mut self, key: &ConfigKey<T>) -> Option<T> {
        let unset = !self.values.contains_key(key.name);
        let rejected = self.problems.iter().any(|problem| problem.key == key.name);
        if unset && !rejected && !self.file_unread {
            let message =
                format!("is required; set it in the file or as {}: {}", variable(key.name), key.expected);
            let origin = ValueOrigin::Unset;
            self.problems.push(ConfigProblem { key: key.name.to_owned(), origin, message });
        }
        self.value(key)
    }

    /// Validates a key that has no effect yet, and warns if it is set.
    pub(crate) fn without_effect(&mut self, key: &dyn AnyKey) {
        let Some(set) = self.values.get(key.name()) else { return };
        match key.accepts(&set.raw) {
            true => self.warnings.push(format!("{} has no effect in this version", key.name())),
            false => self.problems.push(rejection(key, set)),
        }
    }

    /// The librdkafka properties as text.
    pub(crate) fn properties(&mut self) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        for (name, set) in &self.properties {
            let text = match &set.raw {
                RawValue::Text(text) | RawValue::Untyped(text) => text.clone(),
                RawValue::Number(number) => number.to_string(),
                RawValue::Flag(flag) => flag.to_string(),
                RawValue::List(_) | RawValue::Other => {
                    self.problems.push(ConfigProblem {
                        key: format!("{}.{name}", keys::PROPERTIES),
                        origin: set.origin.clone(),
                        message: "expected a string, an integer, true or false".to_owned(),
                    });
                    continue;
                }
            };
            texts.insert(name.clone(), text);
        }
        texts
    }

    /// Adds a problem of a value that was parsed.
    pub(crate) fn reject(&mut self, key: &str, message: String) {
        let property = key.strip_prefix(keys::PROPERTIES).and_then(|rest| rest.strip_prefix('.'));
        let set = match property {
            Some(property) => self.properties.get(property),
            None => self.values.get(key),
        };
        let origin = set.map_or(ValueOrigin::Unset, |set| set.origin.clone());
        self.problems.push(ConfigProblem { key: key.to_owned(), origin, message });
    }
}

fn rejection(key: &dyn AnyKey, set: &SetValue) -> ConfigProblem {
    let is_secret = keys::SECRETS.contains(&key.name());
    let got = if is_secret { String::new() } else { format!(", got {}", set.raw.redacted()) };
    let message = format!("expected {}{got}", key.expected());
    ConfigProblem { key: key.name().to_owned(), origin: set.origin.clone(), message }
}
