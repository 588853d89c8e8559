//! The relay: `postrider run`, as a child process.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::program::{Program, end, ended, tail};
use crate::usage::Usage;

/// A drain takes at most 10 s; the rest is for a busy machine.
const DRAIN: Duration = Duration::from_secs(20);

/// A running relay. Dropped, it is killed.
pub(crate) struct Relay {
    child: Child,
    watcher: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `run`; its output is appended to the log.
    pub(crate) fn run(&self) -> Result<Relay> {
        let log = self.open_log()?;
        let child = self
            .command(&["run"])
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| self.path.display().to_string())?;
        let watcher = match watch(child.id()) {
            Ok(watcher) => watcher,
            Err(error) => {
                let mut child = child;
                end(&mut child);
                return Err(error);
            }
        };
        Ok(Relay { child, watcher, log: self.log.clone() })
    }
}

/// A shell that ends the relay when this process is gone, however it ended: that closes the shell's standard input.
fn watch(relay: u32) -> Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", "read -r _; kill -TERM \"$0\"", &relay.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().context("sh")
}

impl Relay {
    /// An error with the end of the log if the relay has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(anyhow!("the relay ended by itself with {status}{}", tail(&self.log))),
        }
    }

    /// Peak memory and CPU time so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(self.child.id())
    }

    /// Sends SIGTERM and waits; returns the exit status and how long it took.
    pub(crate) async fn terminate(mut self) -> Result<(ExitStatus, Duration)> {
        self.check()?;
        let asked_at = Instant::now();
        let process = i32::try_from(self.child.id()).context("a process id")?;
        kill(Pid::from_raw(process), Signal::SIGTERM).context("sending SIGTERM to the relay")?;
        match ended(&mut self.child, DRAIN).await? {
            Some(status) => Ok((status, asked_at.elapsed())),
            None => {
                end(&mut self.child);
                bail!("the relay did not end within {DRAIN:?} of SIGTERM and was killed{}", tail(&self.log))
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // The watcher first: afterwards the relay's process id may be another process's.
        end(&mut self.watcher);
        end(&mut self.child);
    }
}

/// `exit 0` or what happened instead.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, signal) => format!("killed by signal {}", signal.unwrap_or_default()),
    }
}
