//! What was set, by key: the file with the environment laid over it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::file::FILE_VARIABLE;
use super::keys::{self, AnyKey, Key};
use super::problem::{Origin, Problem};
use super::properties;
use super::raw_value::Raw;
use super::source::Source;
use super::suggest::nearest;

/// A value and where it comes from.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) raw: Raw,
    pub(crate) origin: Origin,
}

/// Everything that was set, and what is wrong so far. Reading a key adds its problem, so that all of them
/// are known in the end.
#[derive(Default)]
pub(crate) struct Settings {
    entries: BTreeMap<String, Entry>,
    properties: BTreeMap<String, Entry>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<String>,
    /// Whether the file could not be read, so that a key missing here may stand there.
    file_unread: bool,
}

impl Settings {
    pub(crate) fn gather(source: &Source) -> Self {
        let mut settings = Settings::default();
        let table = super::file::table(source, &mut settings.problems);
        settings.file_unread = !settings.problems.is_empty();
        settings.take_table(table);
        settings.take_variables(source);
        settings.take_secret_files(source);
        settings
    }

    /// The key's value, its default when it is not set; `None` when it has neither or it is no good.
    pub(crate) fn value<T: PartialEq>(&mut self, key: &Key<T>) -> Option<T> {
        let default = || key.default.and_then(|text| (key.parse)(&Raw::Variable(text.to_owned())));
        self.if_set(key).unwrap_or_else(default)
    }

    /// The key's value if it is set; `Some(None)` when it is no good.
    pub(crate) fn if_set<T: PartialEq>(&mut self, key: &Key<T>) -> Option<Option<T>> {
        let entry = self.entries.get(key.name)?;
        let value = (key.parse)(&entry.raw);
        if value.is_none() {
            self.problems.push(refusal(key, entry));
        }
        Some(value)
    }

    /// The value of a key that has no default.
    pub(crate) fn required<T: PartialEq>(&mut self, key: &Key<T>) -> Option<T> {
        let unset = !self.entries.contains_key(key.name);
        let refused = self.problems.iter().any(|problem| problem.key == key.name);
        if unset && !refused && !self.file_unread {
            let message =
                format!("is required; set it in the file or as {}: {}", variable(key.name), key.takes);
            self.problems.push(Problem { key: key.name.to_owned(), origin: Origin::Unset, message });
        }
        self.value(key)
    }

    /// Checks a key that nothing reads, and says so if it is set.
    pub(crate) fn without_effect(&mut self, key: &dyn AnyKey) {
        let Some(entry) = self.entries.get(key.name()) else { return };
        match key.accepts(&entry.raw) {
            true => self.warnings.push(format!("{} has no effect in this version", key.name())),
            false => self.problems.push(refusal(key, entry)),
        }
    }

    /// The properties of librdkafka by their own names, and the problems of those that are no text.
    pub(crate) fn properties(&mut self) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        for (name, entry) in &self.properties {
            let text = match &entry.raw {
                Raw::Text(text) | Raw::Variable(text) => text.clone(),
                Raw::Number(number) => number.to_string(),
                Raw::Flag(flag) => flag.to_string(),
                Raw::List(_) | Raw::Other => {
                    self.problems.push(Problem {
                        key: format!("{}.{name}", keys::PROPERTIES),
                        origin: entry.origin.clone(),
                        message: "takes a text, a whole number, true or false".to_owned(),
                    });
                    continue;
                }
            };
            texts.insert(name.clone(), text);
        }
        texts
    }

    /// A problem that only shows when a value is looked at more closely, or beside others.
    pub(crate) fn refuse(&mut self, key: &str, message: String) {
        let property = key.strip_prefix(keys::PROPERTIES).and_then(|rest| rest.strip_prefix('.'));
        let entry = match property {
            Some(property) => self.properties.get(property),
            None => self.entries.get(key),
        };
        let origin = entry.map_or(Origin::Unset, |entry| entry.origin.clone());
        self.problems.push(Problem { key: key.to_owned(), origin, message });
    }

    fn take_table(&mut self, table: toml::Table) {
        for (section, value) in table {
            if !sections().any(|known| known == section) {
                self.unknown(&section, value);
                continue;
            }
            let toml::Value::Table(values) = value else {
                let message = format!("is a section: write [{section}] and its keys below it");
                self.problems.push(Problem { key: section, origin: Origin::File, message });
                continue;
            };
            for (name, value) in values {
                let name = format!("{section}.{name}");
                match value {
                    toml::Value::Table(values) if name == keys::PROPERTIES => {
                        self.take_properties("", values)
                    }
                    value if is_key(&name) => {
                        let entry = Entry { raw: Raw::from_toml(value), origin: Origin::File };
                        self.entries.insert(name, entry);
                    }
                    value => self.unknown(&name, value),
                }
            }
        }
    }

    /// `"compression.type" = …` and `compression.type = …` are the same property.
    fn take_properties(&mut self, prefix: &str, values: toml::Table) {
        for (name, value) in values {
            let name = format!("{prefix}{name}");
            match value {
                toml::Value::Table(values) => self.take_properties(&format!("{name}."), values),
                value => {
                    let entry = Entry { raw: Raw::from_toml(value), origin: Origin::File };
                    if self.properties.insert(name.clone(), entry).is_some() {
                        self.refuse(&format!("{}.{name}", keys::PROPERTIES), "is set twice".to_owned());
                    }
                }
            }
        }
    }

    fn unknown(&mut self, name: &str, value: toml::Value) {
        if name == keys::PROPERTIES {
            let message = format!("is a section: write [{name}] and its keys below it");
            self.problems.push(Problem { key: name.to_owned(), origin: Origin::File, message });
            return;
        }
        let near = match value {
            toml::Value::Table(_) => {
                nearest(name, sections()).map(|section| format!("the nearest section is [{section}]"))
            }
            _ => nearest(name, names()).map(|key| format!("the nearest key is {key}")),
        };
        let message = format!("is not known; {}", near.unwrap_or_default());
        self.problems.push(Problem { key: name.to_owned(), origin: Origin::File, message });
    }

    fn take_variables(&mut self, source: &Source) {
        let by_variable: BTreeMap<String, &str> = names().map(|name| (variable(name), name)).collect();
        let properties = format!("{}_", variable(keys::PROPERTIES));
        for (name, value) in &source.variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with("POSTRIDER_")) else { continue };
            if value.is_empty() || name == FILE_VARIABLE {
                continue;
            }
            let key = by_variable.get(name).map(|key| (*key).to_owned());
            let property = name.strip_prefix(&properties).filter(|rest| !rest.is_empty());
            if key.is_none() && property.is_none() {
                let near = nearest(name, by_variable.keys().map(String::as_str)).unwrap_or_default();
                self.warnings.push(format!("{name} means nothing; the nearest name that does is {near}"));
                continue;
            }
            let origin = Origin::Variable(name.to_owned());
            let property = property.map(properties::name_from_variable);
            let Some(text) = value.to_str() else {
                let key = key.or(property).unwrap_or_default();
                self.problems.push(Problem { key, origin, message: "is not UTF-8 text".to_owned() });
                continue;
            };
            let entry = Entry { raw: Raw::Variable(text.to_owned()), origin };
            match (key, property) {
                (Some(key), _) => self.entries.insert(key, entry),
                (None, Some(property)) => self.properties.insert(property, entry),
                (None, None) => None,
            };
        }
    }

    /// Puts the contents of the files that `…_file` keys name in the place of the secrets.
    fn take_secret_files(&mut self, source: &Source) {
        let problems = &mut self.problems;
        for secret in keys::SECRETS {
            from_file(source, &mut self.entries, secret, secret, problems);
        }
        let suffixed = self.properties.keys().filter_map(|name| name.strip_suffix(FILE_SUFFIX));
        let secrets: Vec<_> =
            suffixed.map(str::to_owned).filter(|name| properties::is_secret(name)).collect();
        for secret in secrets {
            let shown = format!("{}.{secret}", keys::PROPERTIES);
            from_file(source, &mut self.properties, &secret, &shown, problems);
        }
    }
}

const FILE_SUFFIX: &str = "_file";

fn from_file(
    source: &Source,
    entries: &mut BTreeMap<String, Entry>,
    secret: &str,
    shown: &str,
    problems: &mut Vec<Problem>,
) {
    let Some(named) = entries.remove(&format!("{secret}{FILE_SUFFIX}")) else { return };
    let from_variable = |entry: &Entry| matches!(entry.origin, Origin::Variable(_));
    if let Some(direct) = entries.get(secret) {
        match (from_variable(direct), from_variable(&named)) {
            (true, false) => return,
            (false, true) => {}
            (true, true) | (false, false) => problems.push(Problem {
                key: shown.to_owned(),
                origin: direct.origin.clone(),
                message: format!("is set twice; give it or {shown}{FILE_SUFFIX}, not both"),
            }),
        }
    }
    entries.remove(secret);
    let Some(path) = named.raw.text().filter(|path| !path.is_empty()).map(PathBuf::from) else {
        problems.push(Problem {
            key: format!("{shown}{FILE_SUFFIX}"),
            origin: named.origin,
            message: "takes the path of a file that holds the secret".to_owned(),
        });
        return;
    };
    let refuse = |message: String| Problem {
        key: shown.to_owned(),
        origin: Origin::SecretFile(path.clone()),
        message,
    };
    match (source.read)(&path).map(String::from_utf8) {
        // Editors and `echo` end a file with a newline, which is never part of the secret.
        Ok(Ok(text)) => match text.trim_end_matches(['\r', '\n']) {
            "" => problems.push(refuse("the file is empty".to_owned())),
            text => {
                let raw = Raw::Variable(text.to_owned());
                entries.insert(secret.to_owned(), Entry { raw, origin: Origin::SecretFile(path) });
            }
        },
        Ok(Err(_)) => problems.push(refuse("the file is not UTF-8 text".to_owned())),
        Err(error) => problems.push(refuse(format!("the file cannot be read: {error}"))),
    }
}

fn refusal(key: &dyn AnyKey, entry: &Entry) -> Problem {
    let secret = keys::SECRETS.contains(&key.name());
    let not = if secret { String::new() } else { format!(", not {}", entry.raw.shown()) };
    let message = format!("takes {}{not}", key.takes());
    Problem { key: key.name().to_owned(), origin: entry.origin.clone(), message }
}

/// Every name that may be set, the properties aside.
fn names() -> impl Iterator<Item = &'static str> {
    const SECRET_FILES: &[&str] = &["postgres.url_file"];
    keys::all().map(AnyKey::name).chain(SECRET_FILES.iter().copied())
}

fn is_key(name: &str) -> bool {
    names().any(|known| known == name)
}

fn sections() -> impl Iterator<Item = &'static str> {
    names().filter_map(|name| name.split('.').next())
}

/// The variable that sets a key.
pub(crate) fn variable(key: &str) -> String {
    format!("POSTRIDER_{}", key.replace('.', "_").to_ascii_uppercase())
}
