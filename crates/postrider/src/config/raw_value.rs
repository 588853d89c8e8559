//! A value as it was given, and the readings it allows.

use std::time::Duration;

use bytesize::ByteSize;

/// A value before anything is known of its key. It may be a secret, so it has no `Debug`.
#[derive(Clone, PartialEq)]
pub(crate) enum Raw {
    Text(String),
    Number(i64),
    Flag(bool),
    List(Vec<Raw>),
    /// A TOML value that no key takes: a decimal number, a date, a table.
    Other,
    /// Text that may stand for any type: an environment variable's, or a written default.
    Variable(String),
}

impl Raw {
    pub(crate) fn from_toml(value: toml::Value) -> Self {
        match value {
            toml::Value::String(text) => Raw::Text(text),
            toml::Value::Integer(number) => Raw::Number(number),
            toml::Value::Boolean(flag) => Raw::Flag(flag),
            toml::Value::Array(values) => Raw::List(values.into_iter().map(Raw::from_toml).collect()),
            toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => Raw::Other,
        }
    }

    /// Any text, the empty one included.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Raw::Text(text) | Raw::Variable(text) => Some(text),
            Raw::Number(_) | Raw::Flag(_) | Raw::List(_) | Raw::Other => None,
        }
    }

    pub(crate) fn flag(&self) -> Option<bool> {
        match self {
            Raw::Flag(flag) => Some(*flag),
            Raw::Variable(text) => text.trim().parse().ok(),
            Raw::Text(_) | Raw::Number(_) | Raw::List(_) | Raw::Other => None,
        }
    }

    /// A number of at least 1.
    pub(crate) fn count(&self) -> Option<usize> {
        let count = match self {
            Raw::Number(number) => usize::try_from(*number).ok()?,
            Raw::Variable(text) => text.trim().parse().ok()?,
            Raw::Text(_) | Raw::Flag(_) | Raw::List(_) | Raw::Other => return None,
        };
        (count > 0).then_some(count)
    }

    /// A number of bytes of at least 1; without a unit it is in bytes.
    pub(crate) fn size_bytes(&self) -> Option<usize> {
        let size = match self {
            Raw::Number(number) => u64::try_from(*number).ok()?,
            Raw::Text(text) | Raw::Variable(text) => text.trim().parse::<ByteSize>().ok()?.as_u64(),
            Raw::Flag(_) | Raw::List(_) | Raw::Other => return None,
        };
        usize::try_from(size).ok().filter(|size| *size > 0)
    }

    /// A time longer than none.
    pub(crate) fn duration(&self) -> Option<Duration> {
        let duration = humantime::parse_duration(self.text()?.trim()).ok()?;
        (!duration.is_zero()).then_some(duration)
    }

    /// Texts, none of them empty; in one text they are separated by commas.
    pub(crate) fn list(&self) -> Option<Vec<String>> {
        match self {
            Raw::Text(text) | Raw::Variable(text) if text.trim().is_empty() => Some(Vec::new()),
            Raw::Text(text) | Raw::Variable(text) => text.split(',').map(item).collect(),
            Raw::List(values) => values.iter().map(|value| item(value.text()?)).collect(),
            Raw::Number(_) | Raw::Flag(_) | Raw::Other => None,
        }
    }

    /// For a message: as it was given, unless it might hold a secret that ended up under the wrong key.
    pub(crate) fn shown(&self) -> String {
        const SHOWN_CHARS_MAX: usize = 60;
        match self {
            Raw::Text(text) | Raw::Variable(text) => {
                let innocent = !text.contains('@') && !text.to_ascii_lowercase().contains("password");
                match innocent && text.chars().count() <= SHOWN_CHARS_MAX {
                    true => format!("{text:?}"),
                    false => "the given text".to_owned(),
                }
            }
            Raw::Number(number) => number.to_string(),
            Raw::Flag(flag) => flag.to_string(),
            Raw::List(_) => "the given list".to_owned(),
            Raw::Other => "the given value".to_owned(),
        }
    }
}

fn item(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
