//! A value before its type is known, and its conversions.

use std::time::Duration;

use bytesize::ByteSize;

/// A value as it was set. It may be a secret, so it has no `Debug`.
#[derive(Clone, PartialEq)]
pub(crate) enum RawValue {
    Text(String),
    Number(i64),
    Flag(bool),
    List(Vec<RawValue>),
    /// A TOML value of a type that no key accepts: a float, a date, a table.
    Other,
    /// Text of any type: an environment variable or a default.
    Untyped(String),
}

impl RawValue {
    pub(crate) fn from_toml(value: toml::Value) -> Self {
        match value {
            toml::Value::String(text) => RawValue::Text(text),
            toml::Value::Integer(number) => RawValue::Number(number),
            toml::Value::Boolean(flag) => RawValue::Flag(flag),
            toml::Value::Array(values) => {
                RawValue::List(values.into_iter().map(RawValue::from_toml).collect())
            }
            toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => RawValue::Other,
        }
    }

    /// Text, possibly empty.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            RawValue::Text(text) | RawValue::Untyped(text) => Some(text),
            RawValue::Number(_) | RawValue::Flag(_) | RawValue::List(_) | RawValue::Other => None,
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self) -> Option<bool> {
        match self {
            RawValue::Flag(flag) => Some(*flag),
            RawValue::Untyped(text) => text.trim().parse().ok(),
            RawValue::Text(_) | RawValue::Number(_) | RawValue::List(_) | RawValue::Other => None,
        }
    }

    /// An integer of at least 1.
    pub(crate) fn count(&self) -> Option<usize> {
        let count = match self {
            RawValue::Number(number) => usize::try_from(*number).ok()?,
            RawValue::Untyped(text) => text.trim().parse().ok()?,
            RawValue::Text(_) | RawValue::Flag(_) | RawValue::List(_) | RawValue::Other => return None,
        };
        (count > 0).then_some(count)
    }

    /// A size of at least 1 byte; a number without a unit is in bytes.
    pub(crate) fn size_bytes(&self) -> Option<usize> {
        let size = match self {
            RawValue::Number(number) => u64::try_from(*number).ok()?,
            RawValue::Text(text) | RawValue::Untyped(text) => text.trim().parse::<ByteSize>().ok()?.as_u64(),
            RawValue::Flag(_) | RawValue::List(_) | RawValue::Other => return None,
        };
        usize::try_from(size).ok().filter(|size| *size > 0)
    }

    /// A duration above zero.
    pub(crate) fn duration(&self) -> Option<Duration> {
        let duration = humantime::parse_duration(self.text()?.trim()).ok()?;
        (!duration.is_zero()).then_some(duration)
    }

    /// Non-empty texts: a TOML array, or separated by commas.
    pub(crate) fn list(&self) -> Option<Vec<String>> {
        match self {
            RawValue::Text(text) | RawValue::Untyped(text) if text.trim().is_empty() => Some(Vec::new()),
            RawValue::Text(text) | RawValue::Untyped(text) => text.split(',').map(item).collect(),
            RawValue::List(values) => values.iter().map(|value| item(value.text()?)).collect(),
            RawValue::Number(_) | RawValue::Flag(_) | RawValue::Other => None,
        }
    }

    /// The value for an error message, unless it may be a secret under the wrong key.
    pub(crate) fn redacted(&self) -> String {
        const SHOWN_CHARS_MAX: usize = 60;
        match self {
            RawValue::Text(text) | RawValue::Untyped(text) => {
                let may_be_secret = text.contains('@') || text.to_ascii_lowercase().contains("password");
                match may_be_secret || text.chars().count() > SHOWN_CHARS_MAX {
                    true => "other text".to_owned(),
                    false => format!("{text:?}"),
                }
            }
            RawValue::Number(number) => number.to_string(),
            RawValue::Flag(flag) => flag.to_string(),
            RawValue::List(_) => "a list".to_owned(),
            RawValue::Other => "a value of another type".to_owned(),
        }
    }
}

fn item(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
