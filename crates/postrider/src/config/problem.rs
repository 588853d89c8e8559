//! The problems of a configuration.

use std::fmt;
use std::path::PathBuf;

/// One problem of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key, such as `limits.in_flight_events`, or the file or variable if there is no key to name.
    pub key: String,
    /// Where the value was set.
    pub origin: ValueOrigin,
    /// The problem and the expected value. Never contains a secret.
    pub message: String,
}

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueOrigin {
    /// The key is not set, or the key itself names the place.
    Unset,
    /// The configuration file.
    File,
    /// An environment variable.
    Variable(String),
    /// The file that a `…_file` key names.
    SecretFile(PathBuf),
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            ValueOrigin::Unset | ValueOrigin::File => write!(f, "{}: {}", self.key, self.message),
            ValueOrigin::Variable(name) => write!(f, "{} ({name}): {}", self.key, self.message),
            ValueOrigin::SecretFile(path) => {
                write!(f, "{} ({}): {}", self.key, path.display(), self.message)
            }
        }
    }
}

/// An invalid configuration, with all its problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadConfig {
    /// At least one.
    pub problems: Vec<ConfigProblem>,
    /// The warnings; often the cause of a problem.
    pub warnings: Vec<String>,
}

impl std::error::Error for BadConfig {}

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => write!(f, "the configuration has a problem:")?,
            count => write!(f, "the configuration has {count} problems:")?,
        }
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        for warning in &self.warnings {
            write!(f, "\n  (warning) {warning}")?;
        }
        Ok(())
    }
}
