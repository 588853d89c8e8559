//! Runs of the program with nothing of this process's environment but what a test gives.

use std::process::{Command, Output};
use std::sync::OnceLock;

use tempfile::TempDir;
use testbed::Postgres;

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A place with files and an environment to run the program in.
pub(crate) struct Place {
    directory: TempDir,
    variables: Vec<(String, String)>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Place { directory: TempDir::new().unwrap(), variables: Vec::new() }
    }

    /// With what the configuration requires.
    pub(crate) fn for_url(url: &str) -> Self {
        Place::new()
            .variable("POSTRIDER_POSTGRES_URL", url)
            .variable("POSTRIDER_KAFKA_BROKERS", "127.0.0.1:1")
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.directory.path().join(name), text).unwrap();
        self
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postrider"));
        command.args(arguments).current_dir(self.directory.path()).env_clear();
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        let Output { status, stdout, stderr } = command.envs(variables).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Run { code: status.code(), out: text(stdout), err: text(stderr) }
    }
}

/// A PostgreSQL with TLS, shared by the tests that do not break it.
pub(crate) fn postgres() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| Postgres::builder().tls(true).start().unwrap())
}
