use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a server, or something it needs, is not there. Each message is complete: the cause is part of
/// it, and so is the end of the server's log where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system said no.
    #[error("{what}: {cause}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        cause: io::Error,
    },
    /// A program of the system is not installed.
    #[error("'{program}' is not installed: run script/bootstrap")]
    Missing {
        /// The program's name.
        program: String,
    },
    /// A program ran and failed.
    #[error("{what} failed:\n{output}")]
    Failed {
        /// What it was to do.
        what: String,
        /// The end of what it printed.
        output: String,
    },
    /// There are no programs for this version or this machine.
    #[error("{0}")]
    Unsupported(String),
    /// The user the server runs as cannot get at a directory it needs.
    #[error(
        "user '{user}', as whom PostgreSQL runs, cannot enter {}: \
         set {variable} to a directory that everybody can enter",
        path.display()
    )]
    Unreachable {
        /// Whom PostgreSQL runs as.
        user: String,
        /// The directory that is closed to it.
        path: PathBuf,
        /// The environment variable that moves it.
        variable: &'static str,
    },
    /// A server did not come up.
    #[error("{server} did not start: {why}\nthe end of its log:\n{log}")]
    Start {
        /// Which server.
        server: String,
        /// What is known about the reason.
        why: String,
        /// The end of its log.
        log: String,
    },
    /// A server that was asked to stop did not; it has been killed.
    #[error("{server} did not stop within {after:?} and was killed\nthe end of its log:\n{log}")]
    Stop {
        /// Which server.
        server: String,
        /// How long it had.
        after: Duration,
        /// The end of its log.
        log: String,
    },
    /// A running server refused what it was asked.
    #[error("{server}: {what}: {why}\nthe end of its log:\n{log}")]
    Refused {
        /// Which server.
        server: String,
        /// What it was asked.
        what: String,
        /// What it answered.
        why: String,
        /// The end of its log.
        log: String,
    },
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |cause| Self::Io { what, cause }
    }

    pub(crate) fn at(what: impl Display, path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io(format!("{what} {}", path.display()))
    }

    /// Whether a server found its port taken: somebody who is no testbed was faster.
    pub(crate) fn is_port_taken(&self) -> bool {
        matches!(self, Self::Start { log, .. } if log.contains("Address already in use"))
    }

    /// The error of a program that could not be run at all.
    pub(crate) fn running(program: &str) -> impl FnOnce(io::Error) -> Self {
        move |cause| match cause.kind() {
            io::ErrorKind::NotFound => Self::Missing { program: program.to_owned() },
            _ => Self::Io { what: format!("running {program}"), cause },
        }
    }
}
