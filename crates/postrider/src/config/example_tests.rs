//! Holds `postrider.example.toml` to the table of keys.

use std::collections::BTreeMap;

use crate::config::load::Config;
use crate::config::settings::raw_value::RawValue;
use crate::config::{fixture, keys};

const EXAMPLE: &str = include_str!("../../../../postrider.example.toml");

/// The file with all keys uncommented, and for each key whether its value is marked as an example.
fn uncommented() -> (String, BTreeMap<String, bool>) {
    let mut text = String::new();
    let mut examples = BTreeMap::new();
    let mut section = "";
    for line in EXAMPLE.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            section = name.0;
        }
        let line = line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line);
        if let Some((name, value)) = line.split_once(" = ") {
            examples.insert(format!("{section}.{name}"), value.contains("# example"));
        }
        text.push_str(line);
        text.push('\n');
    }
    (text, examples)
}

#[test]
fn example_file_is_valid_without_warnings() {
    let loaded = Config::load(&fixture::source(Some(EXAMPLE), &[], &[])).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn example_file_with_all_keys_uncommented_is_valid() {
    let (text, _) = uncommented();
    let secret = [("/run/secrets/kafka-password", "x")];
    let loaded = Config::load(&fixture::source(Some(&text), &[], &secret)).unwrap();
    assert_eq!(loaded.warnings.len(), keys::WITHOUT_EFFECT.len());
}

#[test]
fn example_file_has_every_key_with_its_default() {
    let (text, examples) = uncommented();
    let table: toml::Table = text.parse().unwrap();
    for key in keys::all() {
        let (section, name) = key.name().split_once('.').unwrap();
        let value = table.get(section).and_then(|section| section.get(name));
        let raw = RawValue::from_toml(value.unwrap_or_else(|| panic!("{} is missing", key.name())).clone());
        assert!(key.accepts(&raw), "{}", key.name());
        match key.default() {
            Some(_) => assert!(key.is_default(&raw), "{} has another default", key.name()),
            None => {
                let required = ["postgres.url", "kafka.brokers"].contains(&key.name());
                assert!(required || examples[key.name()], "{} has no default", key.name());
            }
        }
    }
}

#[test]
fn defaults_are_valid() {
    for key in keys::all() {
        if let Some(default) = key.default() {
            assert!(key.accepts(&RawValue::Untyped(default.to_owned())), "{}", key.name());
        }
    }
}
