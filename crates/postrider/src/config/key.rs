//! A configuration key: its name, its default, and how its value is parsed.

use crate::config::settings::raw_value::RawValue;

/// A key with values of type `T`.
pub(crate) struct ConfigKey<T: 'static> {
    /// `section.name`.
    pub(crate) name: &'static str,
    /// The accepted values, for error messages.
    pub(crate) expected: &'static str,
    /// In the notation of an environment variable.
    pub(crate) default: Option<&'static str>,
    pub(crate) parse: fn(&RawValue) -> Option<T>,
}

/// A key of any type.
pub(crate) trait AnyKey: Sync {
    fn name(&self) -> &'static str;
    fn expected(&self) -> &'static str;
    fn accepts(&self, raw: &RawValue) -> bool;
    /// Whether the value equals the default.
    #[cfg(test)]
    fn is_default(&self, raw: &RawValue) -> bool;
    #[cfg(test)]
    fn default(&self) -> Option<&'static str>;
}

impl<T: PartialEq> AnyKey for ConfigKey<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn expected(&self) -> &'static str {
        self.expected
    }

    fn accepts(&self, raw: &RawValue) -> bool {
        (self.parse)(raw).is_some()
    }

    #[cfg(test)]
    fn is_default(&self, raw: &RawValue) -> bool {
        let default = self.default.map(|text| RawValue::Untyped(text.to_owned()));
        default.is_some_and(|default| (self.parse)(raw) == (self.parse)(&default))
    }

    #[cfg(test)]
    fn default(&self) -> Option<&'static str> {
        self.default
    }
}

/// The environment variable of a key.
pub(crate) fn variable(key: &str) -> String {
    format!("POSTRIDER_{}", key.replace('.', "_").to_ascii_uppercase())
}
