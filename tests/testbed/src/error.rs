use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a server, or something it needs, is not available. Each message includes the cause and, where there is one,
/// the end of the server's log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operating system call failed.
    #[error("{what}: {cause}")]
    Io {
        /// The attempted operation.
        what: String,
        /// The error of the operating system.
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
        /// The attempted operation.
        what: String,
        /// The end of its output.
        output: String,
    },
    /// There are no programs for this version or this machine.
    #[error("{0}")]
    Unsupported(String),
    /// The user that the server runs as cannot enter a directory it needs.
    #[error(
        "user '{user}', which runs PostgreSQL, cannot enter {}: \
         set {variable} to a directory that every user can enter",
        path.display()
    )]
    Unreachable {
        /// The user that PostgreSQL runs as.
        user: String,
        /// The directory that the user cannot enter.
        path: PathBuf,
        /// The environment variable that moves it.
        variable: &'static str,
    },
    /// A server did not start.
    #[error("{server} did not start: {why}\nthe end of its log:\n{log}")]
    Start {
        /// Which server.
        server: String,
        /// The last known reason.
        why: String,
        /// The end of its log.
        log: String,
    },
    /// A server did not stop in time and was killed.
    #[error("{server} did not stop within {after:?} and was killed\nthe end of its log:\n{log}")]
    Stop {
        /// Which server.
        server: String,
        /// How long it had.
        after: Duration,
        /// The end of its log.
        log: String,
    },
    /// A running server rejected a request.
    #[error("{server}: {what}: {why}\nthe end of its log:\n{log}")]
    Refused {
        /// Which server.
        server: String,
        /// The request.
        what: String,
        /// Its answer.
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

    /// Whether another program bound the port first.
    pub(crate) fn is_port_taken(&self) -> bool {
        matches!(self, Self::Start { log, .. } if log.contains("Address already in use"))
    }

    /// The error of a program that could not be started.
    pub(crate) fn running(program: &str) -> impl FnOnce(io::Error) -> Self {
        move |cause| match cause.kind() {
            io::ErrorKind::NotFound => Self::Missing { program: program.to_owned() },
            _ => Self::Io { what: format!("running {program}"), cause },
        }
    }
}
