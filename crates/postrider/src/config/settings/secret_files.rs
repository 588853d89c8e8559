//! The secrets that `…_file` keys name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::keys;
use crate::config::problem::{ConfigProblem, ValueOrigin};
use crate::config::sections::kafka_properties::is_secret;
use crate::config::settings::config_source::ConfigSource;
use crate::config::settings::raw_value::RawValue;
use crate::config::settings::values::{SetValue, Settings};

const FILE_SUFFIX: &str = "_file";

/// Replaces every `…_file` value by the content of the file, under the name of the secret.
pub(crate) fn read(settings: &mut Settings, source: &ConfigSource) {
    let problems = &mut settings.problems;
    for secret in keys::SECRETS {
        read_file(source, &mut settings.values, secret, secret, problems);
    }
    let suffixed = settings.properties.keys().filter_map(|name| name.strip_suffix(FILE_SUFFIX));
    let secrets: Vec<_> = suffixed.map(str::to_owned).filter(|name| is_secret(name)).collect();
    for secret in secrets {
        let key = format!("{}.{secret}", keys::PROPERTIES);
        read_file(source, &mut settings.properties, &secret, &key, problems);
    }
}

/// A variable overrides the file, whichever of the two names it uses.
fn read_file(
    source: &ConfigSource,
    values: &mut BTreeMap<String, SetValue>,
    secret: &str,
    key: &str,
    problems: &mut Vec<ConfigProblem>,
) {
    let Some(named) = values.remove(&format!("{secret}{FILE_SUFFIX}")) else { return };
    let is_variable = |set: &SetValue| matches!(set.origin, ValueOrigin::Variable(_));
    if let Some(direct) = values.get(secret) {
        match (is_variable(direct), is_variable(&named)) {
            (true, false) => return,
            (false, true) => {}
            (true, true) | (false, false) => problems.push(ConfigProblem {
                key: key.to_owned(),
                origin: direct.origin.clone(),
                message: format!("is set twice; set either this or {key}{FILE_SUFFIX}"),
            }),
        }
    }
    values.remove(secret);
    let Some(path) = named.raw.text().filter(|path| !path.is_empty()).map(PathBuf::from) else {
        problems.push(ConfigProblem {
            key: format!("{key}{FILE_SUFFIX}"),
            origin: named.origin,
            message: "expected the path of a file that holds the secret".to_owned(),
        });
        return;
    };
    let rejection = |message: String| ConfigProblem {
        key: key.to_owned(),
        origin: ValueOrigin::SecretFile(path.clone()),
        message,
    };
    match (source.read)(&path).map(String::from_utf8) {
        // Editors and `echo` end a file with a newline, which is never part of a secret.
        Ok(Ok(text)) => match text.trim_end_matches(['\r', '\n']) {
            "" => problems.push(rejection("the file is empty".to_owned())),
            text => {
                let raw = RawValue::Untyped(text.to_owned());
                values.insert(secret.to_owned(), SetValue { raw, origin: ValueOrigin::SecretFile(path) });
            }
        },
        Ok(Err(_)) => problems.push(rejection("the file is not UTF-8 text".to_owned())),
        Err(error) => problems.push(rejection(format!("the file cannot be read: {error}"))),
    }
}
