//! Holds `docs/configuration.md` to the table of keys.

use std::collections::BTreeMap;

use crate::config::fixture::{REQUIRED, source};
use crate::config::key::variable;
use crate::config::keys;
use crate::config::load::Config;
use crate::config::settings::raw_value::RawValue;

const REFERENCE: &str = include_str!("../../../../docs/configuration.md");

/// The cells of all table rows below a heading `` ## `[section]` ``, by section.
fn rows() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut section = "";
    let mut rows = Vec::new();
    for line in REFERENCE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let name = heading.strip_prefix("`[").and_then(|name| name.strip_suffix("]`"));
            section = name.unwrap_or_default();
        } else if line.starts_with("| `") && !section.is_empty() {
            rows.push((section, line.trim_matches('|').split('|').map(str::trim).collect()));
        }
    }
    rows
}

/// Type, default, variable and effect of every documented key.
fn documented() -> BTreeMap<String, [&'static str; 4]> {
    let keys = rows().into_iter().filter(|(section, _)| *section != keys::PROPERTIES);
    keys.map(|(section, cells)| {
        let [name, cells @ ..] = <[&str; 5]>::try_from(cells).expect("five cells");
        (format!("{section}.{}", name.trim_matches('`')), cells)
    })
    .collect()
}

#[test]
fn reference_has_exactly_the_known_keys() {
    let mut known: Vec<_> = keys::all().map(|key| key.name().to_owned()).collect();
    known.sort();
    assert_eq!(documented().into_keys().collect::<Vec<_>>(), known);
}

#[test]
fn reference_has_the_defaults_variables_and_effects_of_the_keys() {
    let documented = documented();
    for key in keys::all() {
        let name = key.name();
        let [_, default, env, effect] = documented[name];
        assert_eq!(env, format!("`{}`", variable(name)));
        match key.default() {
            Some("") => assert_eq!(default, "empty", "{name}"),
            Some(_) => {
                let raw = RawValue::Untyped(default.trim_matches('`').to_owned());
                assert!(key.is_default(&raw), "{name} has another default than {default}");
            }
            None => {
                let is_required = REQUIRED.iter().any(|(required, _)| *required == variable(name));
                assert_eq!(default, if is_required { "required" } else { "none" }, "{name}");
            }
        }
        let has_effect = keys::WITHOUT_EFFECT.iter().all(|other| other.name() != name);
        assert_eq!(effect.starts_with("No effect yet"), !has_effect, "{name}: {effect}");
    }
}

#[test]
fn reference_lists_properties_that_are_rejected() {
    let properties: Vec<_> = rows()
        .into_iter()
        .filter(|(section, _)| *section == keys::PROPERTIES)
        .flat_map(|(_, cells)| cells[0].split(", "))
        .map(|name| name.trim_matches('`'))
        .collect();
    assert!(properties.len() > 12, "{properties:?}");
    for property in properties {
        let toml = format!("[kafka.properties]\n'{property}' = 'x'");
        let bad = Config::load(&source(Some(&toml), &REQUIRED, &[])).expect_err(property);
        assert_eq!(bad.problems[0].key, format!("kafka.properties.{property}"));
    }
}
