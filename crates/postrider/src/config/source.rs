//! Where a configuration comes from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Reads a whole file.
pub type ReadFile = Box<dyn Fn(&Path) -> io::Result<Vec<u8>>>;

/// Everything a configuration is made from, so that a test can make it up.
pub struct Source {
    /// The file named on the command line.
    pub file: Option<PathBuf>,
    /// The environment.
    pub variables: BTreeMap<OsString, OsString>,
    /// Reads a file: the configuration itself, a secret, a certificate.
    pub read: ReadFile,
}

impl Source {
    /// The process's own environment and files.
    pub fn of_this_process(file: Option<PathBuf>) -> Self {
        Source { file, variables: std::env::vars_os().collect(), read: Box::new(|path| std::fs::read(path)) }
    }
}
