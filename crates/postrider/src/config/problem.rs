//! What is wrong with a configuration, said so that it can be put right.

use std::fmt;
use std::path::PathBuf;

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `limits.in_flight_events`, or the file or variable when there is no key to name.
    pub key: String,
    /// Where it was set.
    pub origin: Origin,
    /// What is wrong, and what the key takes. Never a secret.
    pub message: String,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the key is not set, or the key itself is the place.
    Unset,
    /// The configuration file.
    File,
    /// An environment variable.
    Variable(String),
    /// The file that a `…_file` key names.
    SecretFile(PathBuf),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Unset | Origin::File => write!(f, "{}: {}", self.key, self.message),
            Origin::Variable(name) => write!(f, "{} ({name}): {}", self.key, self.message),
            Origin::SecretFile(path) => write!(f, "{} ({}): {}", self.key, path.display(), self.message),
        }
    }
}

/// A configuration nothing can be started with: everything that is wrong with it, and what is merely odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadConfig {
    /// All of it, at least one.
    pub problems: Vec<Problem>,
    /// What a good configuration would only have been warned about; often the cause of a problem.
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
