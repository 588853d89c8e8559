//! The inputs of a configuration.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Reads a whole file.
pub type ReadFile = Box<dyn Fn(&Path) -> io::Result<Vec<u8>>>;

/// Everything a configuration is read from, so that tests can inject it.
pub struct ConfigSource {
    /// The configuration file named on the command line.
    pub file: Option<PathBuf>,
    /// The environment variables.
    pub variables: BTreeMap<OsString, OsString>,
    /// Reads the configuration file, a secret or a certificate.
    pub read: ReadFile,
}

impl ConfigSource {
    /// The environment and the file system of this process.
    pub fn of_this_process(file: Option<PathBuf>) -> Self {
        let variables = std::env::vars_os().collect();
        ConfigSource { file, variables, read: Box::new(|path| std::fs::read(path)) }
    }
}
