//! The example file names every key, and the defaults it writes are the defaults.

use std::collections::BTreeMap;

use super::raw_value::Raw;
use super::{fixture, keys};
use crate::config::Config;

const EXAMPLE: &str = include_str!("../../../../postrider.example.toml");

/// With the keys that are commented out set, and whether each says that its value is only an example.
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
fn as_it_stands_it_is_a_configuration_without_warnings() {
    let loaded = Config::load(&fixture::source(Some(EXAMPLE), &[], &[])).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn with_everything_in_it_set_it_is_still_one() {
    let (text, _) = uncommented();
    let secret = [("/run/secrets/kafka-password", "x")];
    let loaded = Config::load(&fixture::source(Some(&text), &[], &secret)).unwrap();
    assert_eq!(loaded.warnings.len(), keys::WITHOUT_EFFECT.len());
}

#[test]
fn it_names_every_key_with_its_default() {
    let (text, examples) = uncommented();
    let table: toml::Table = text.parse().unwrap();
    for key in keys::all() {
        let (section, name) = key.name().split_once('.').unwrap();
        let value = table.get(section).and_then(|section| section.get(name));
        let raw = Raw::from_toml(value.unwrap_or_else(|| panic!("{} is missing", key.name())).clone());
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
fn every_default_is_one_its_key_takes() {
    for key in keys::all() {
        if let Some(default) = key.default() {
            assert!(key.accepts(&Raw::Variable(default.to_owned())), "{}", key.name());
        }
    }
}
