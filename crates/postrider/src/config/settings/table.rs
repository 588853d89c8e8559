//! The values of the configuration file.

use crate::config::keys;
use crate::config::problem::{ConfigProblem, ValueOrigin};
use crate::config::settings::names::{self, is_key, sections};
use crate::config::settings::raw_value::RawValue;
use crate::config::settings::suggest::most_similar;
use crate::config::settings::values::{SetValue, Settings};

/// Adds the values of the file. Unknown sections and keys are problems.
pub(crate) fn add(settings: &mut Settings, table: toml::Table) {
    for (section, value) in table {
        if !sections().any(|known| known == section) {
            add_unknown(settings, &section, value);
            continue;
        }
        let toml::Value::Table(values) = value else {
            add_not_a_section(settings, section);
            continue;
        };
        for (name, value) in values {
            let name = format!("{section}.{name}");
            match value {
                toml::Value::Table(values) if name == keys::PROPERTIES => {
                    add_properties(settings, "", values);
                }
                value if is_key(&name) => {
                    settings.values.insert(name, of_file(value));
                }
                value => add_unknown(settings, &name, value),
            }
        }
    }
}

/// `"compression.type" = …` and `compression.type = …` are the same property.
fn add_properties(settings: &mut Settings, prefix: &str, values: toml::Table) {
    for (name, value) in values {
        let name = format!("{prefix}{name}");
        match value {
            toml::Value::Table(values) => add_properties(settings, &format!("{name}."), values),
            value => {
                if settings.properties.insert(name.clone(), of_file(value)).is_some() {
                    settings.reject(&format!("{}.{name}", keys::PROPERTIES), "is set twice".to_owned());
                }
            }
        }
    }
}

fn of_file(value: toml::Value) -> SetValue {
    SetValue { raw: RawValue::from_toml(value), origin: ValueOrigin::File }
}

fn add_not_a_section(settings: &mut Settings, name: String) {
    let message = format!("is a section; write [{name}] and its keys below it");
    settings.problems.push(ConfigProblem { key: name, origin: ValueOrigin::File, message });
}

fn add_unknown(settings: &mut Settings, name: &str, value: toml::Value) {
    if name == keys::PROPERTIES {
        add_not_a_section(settings, name.to_owned());
        return;
    }
    let (kind, suggestion) = match value {
        toml::Value::Table(_) => {
            ("section", most_similar(name, sections()).map(|section| format!("[{section}]")))
        }
        _ => ("key", most_similar(name, names::all()).map(str::to_owned)),
    };
    let message = format!("unknown {kind}; did you mean {}?", suggestion.unwrap_or_default());
    settings.problems.push(ConfigProblem { key: name.to_owned(), origin: ValueOrigin::File, message });
}
