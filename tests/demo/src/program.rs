//! The program postrider, and how the demo runs its commands.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::arrivals::GROUP;

const ANSWER: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(20);
/// The default deadlines are minutes, longer than the demo.
const STUCK_AFTER: &str = "3s";

/// How the relay is run.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) postgres_url: String,
    pub(crate) kafka_brokers: String,
    pub(crate) log: PathBuf,
}

/// A child that does not outlive this value.
struct Bound(Child);

impl Drop for Bound {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

impl Program {
    /// How the demo configures postrider, besides the servers.
    pub(crate) fn settings(&self) -> [(&'static str, &str); 5] {
        [
            ("POSTRIDER_POSTGRES_URL", &self.postgres_url),
            ("POSTRIDER_KAFKA_BROKERS", &self.kafka_brokers),
            ("POSTRIDER_RECEIPTS_FOLLOW", GROUP),
            ("POSTRIDER_RECONCILE_INIT_AFTER", STUCK_AFTER),
            ("POSTRIDER_RECONCILE_PUBLISH_AFTER", STUCK_AFTER),
        ]
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        // Without POSTRIDER_ variables of the caller, which are for another relay.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("POSTRIDER_") {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .envs(self.settings())
            .stdin(Stdio::null())
            // A Ctrl-C at the terminal is for the demo, which ends the relay first and its servers then.
            .process_group(0);
        command
    }

    /// Runs a command and prints its standard output, which is also kept in a file beside the log. Its standard error
    /// goes to the log.
    pub(crate) async fn show(&self, arguments: &[&str]) -> Result<ExitStatus> {
        let line = format!("postrider {}", arguments.join(" "));
        let answer = self.log.with_file_name(format!("{}.txt", arguments.first().unwrap_or(&"postrider")));
        let output = File::create(&answer).with_context(|| answer.display().to_string())?;
        let child = self.command(arguments).stdout(output).stderr(self.open_log()?).spawn();
        let mut child = Bound(child.with_context(|| self.path.display().to_string())?);
        let Some(status) = ended(&mut child.0, ANSWER).await? else {
            bail!("`{line}` did not end within {ANSWER:?}{}", tail(&self.log));
        };
        println!("\n{line}:\n{}", indented(&answer)?);
        Ok(status)
    }

    /// [`show`](Self::show) for a command that has no reason to fail.
    pub(crate) async fn show_success(&self, arguments: &[&str]) -> Result<()> {
        let status = self.show(arguments).await?;
        if !status.success() {
            bail!("`postrider {}` ended with {status}{}", arguments.join(" "), tail(&self.log));
        }
        Ok(())
    }

    /// The log, to be written on at its end.
    pub(crate) fn open_log(&self) -> Result<File> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        log.with_context(|| self.log.display().to_string())
    }
}

fn indented(file: &Path) -> Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let lines = text.trim_end().lines();
    Ok(lines.map(|line| format!("  {line}").trim_end().to_owned() + "\n").collect())
}

/// How the process ended, or `None` where it did not in time.
pub(crate) async fn ended(child: &mut Child, within: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + within;
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(Some(status)),
            None if Instant::now() > deadline => return Ok(None),
            None => tokio::time::sleep(TICK).await,
        }
    }
}

/// Both fail only for a process that has ended already.
pub(crate) fn end(child: &mut Child) {
    child.kill().ok();
    child.wait().ok();
}

/// The end of the relay's log, as part of an error.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let end = lines[lines.len().saturating_sub(15)..].join("\n  ");
    if end.is_empty() {
        return format!("; its log {} is empty", log.display());
    }
    format!("; the end of its log {}:\n  {end}", log.display())
}
