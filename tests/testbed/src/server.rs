use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal;
use nix::unistd::Pid;

use crate::command::tail;
use crate::guardian::{Guardian, Signal};
use crate::user::RunAs;
use crate::{Error, wait};

/// How many lines of a server's log an error shows.
const LOG_LINES: usize = 25;

/// A server's directory, main process and log.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    /// Serialises state changes. `process` is locked only for moments, so that `is_running` never waits for a start or
    /// a stop.
    lifecycle: Mutex<()>,
    process: Mutex<Option<Child>>,
    guardian: Guardian,
}

/// What a probe found about a launched server.
pub(crate) enum Probe {
    Ready,
    /// Not yet, and why.
    NotYet(String),
}

impl Server {
    pub(crate) fn new(name: String, kind: &str, run_as: RunAs) -> Result<Self, Error> {
        let guardian = Guardian::start(kind, run_as)?;
        Ok(Self { name, lifecycle: Mutex::new(()), process: Mutex::new(None), guardian })
    }

    pub(crate) fn dir(&self) -> &Path {
        self.guardian.dir()
    }

    pub(crate) fn run_as(&self) -> &RunAs {
        self.guardian.run_as()
    }

    /// A command that runs as the server's user, in its directory, where the guardian knows it.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.run_as().command(program);
        command.current_dir(self.dir());
        command
    }

    pub(crate) fn is_running(&self) -> bool {
        self.exit_status().is_none()
    }

    /// Launches the server unless it runs, and waits until `probe` finds it ready. A server that does
    /// not get there is killed.
    pub(crate) fn start(
        &self,
        program: &Path,
        arguments: impl FnOnce(&mut Command) -> Result<(), Error>,
        mut probe: impl FnMut() -> Probe,
    ) -> Result<(), Error> {
        let _lifecycle = lock(&self.lifecycle);
        if self.is_running() {
            return Ok(());
        }
        let log_path = self.log_path();
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(Error::at("opening", &log_path))?;
        let log_too = log.try_clone().map_err(Error::at("opening", &log_path))?;

        // In a session of its own a Ctrl-C does not reach the server. `setsid` turns into the program,
        // so the child's id is the server's.
        let mut command = self.command("setsid");
        command.arg(program);
        arguments(&mut command)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too)
            .spawn()
            .map_err(Error::running("setsid"))?;
        *lock(&self.process) = Some(child);

        let mut last = "it was never asked".to_owned();
        let outcome = wait::until(wait::DEADLINE, || match probe() {
            Probe::Ready => Some(Ok(())),
            Probe::NotYet(why) => {
                last = why;
                self.exit_status().map(|status| Err(format!("it ended by itself ({status})")))
            }
        });
        let why = match outcome {
            Some(Ok(())) => return Ok(()),
            Some(Err(why)) => why,
            None => format!("it was not ready within {:?}: {last}", wait::DEADLINE),
        };
        let error = Error::Start { server: self.name.clone(), why, log: self.log_tail(LOG_LINES) };
        self.kill_and_reap()?;
        Err(error)
    }

    /// Asks the main process to stop and waits until it has; kills what does not, which is an error.
    pub(crate) fn stop(&self, how: signal::Signal) -> Result<(), Error> {
        let _lifecycle = lock(&self.lifecycle);
        let Some(pid) = self.main_process() else { return Ok(()) };
        // The process is a child and not reaped yet, so its id is not reused.
        signal::kill(pid, how).map_err(|e| Error::io(format!("stopping {}", self.name))(e.into()))?;
        self.guardian.signal(Signal::Resume)?;
        if wait::until(wait::DEADLINE, || self.exit_status()).is_some() {
            return Ok(());
        }
        let error =
            Error::Stop { server: self.name.clone(), after: wait::DEADLINE, log: self.log_tail(LOG_LINES) };
        self.kill_and_reap()?;
        Err(error)
    }

    /// SIGKILL to every process of the server at once; none is left when this returns.
    pub(crate) fn kill(&self) -> Result<(), Error> {
        let _lifecycle = lock(&self.lifecycle);
        self.kill_and_reap()
    }

    pub(crate) fn pause(&self) -> Result<(), Error> {
        let _lifecycle = lock(&self.lifecycle);
        self.guardian.signal(Signal::Pause)
    }

    pub(crate) fn resume(&self) -> Result<(), Error> {
        let _lifecycle = lock(&self.lifecycle);
        self.guardian.signal(Signal::Resume)
    }

    pub(crate) fn log_tail(&self, count: usize) -> String {
        fs::read(self.log_path()).map_or_else(
            |error| format!("(no log: {error})"),
            |log| tail(&String::from_utf8_lossy(&log), count),
        )
    }

    pub(crate) fn refused(&self, what: impl Into<String>, why: impl ToString) -> Error {
        Error::Refused {
            server: self.name.clone(),
            what: what.into(),
            why: why.to_string(),
            log: self.log_tail(LOG_LINES),
        }
    }

    fn log_path(&self) -> PathBuf {
        self.dir().join("log")
    }

    /// The main process, while it runs.
    pub(crate) fn main_process(&self) -> Option<Pid> {
        let mut process = lock(&self.process);
        let child = process.as_mut()?;
        match child.try_wait() {
            Ok(None) => i32::try_from(child.id()).ok().map(Pid::from_raw),
            _ => None,
        }
    }

    /// How the main process ended; `None` while it runs. A server never launched has "ended" too.
    fn exit_status(&self) -> Option<String> {
        match lock(&self.process).as_mut().map(Child::try_wait) {
            None => Some("not launched".to_owned()),
            Some(Ok(None)) => None,
            Some(Ok(Some(status))) => Some(ExitStatus::to_string(&status)),
            Some(Err(error)) => Some(error.to_string()),
        }
    }

    fn kill_and_reap(&self) -> Result<(), Error> {
        self.guardian.signal(Signal::Kill)?;
        if let Some(child) = lock(&self.process).as_mut() {
            child.wait().map_err(Error::io(format!("waiting for the end of {}", self.name)))?;
        }
        Ok(())
    }
}

impl Drop for Server {
    /// Reaps the process, because tests check that it is gone.
    fn drop(&mut self) {
        self.guardian.end();
        if let Some(child) = lock(&self.process).as_mut() {
            let _ =
                wait::until(wait::DEADLINE, || child.try_wait().map_or(Some(()), |ended| ended.map(drop)));
        }
    }
}

/// A panic of a test that held the lock does not affect the server.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
