//! `postrider run` as a child process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::{eventually, wait_until};

/// A running relay; killed when dropped.
pub struct Relay {
    child: Child,
    log: PathBuf,
}

impl Relay {
    pub(crate) fn spawn(mut command: Command, directory: &Path) -> Self {
        let mut logs = (0_u32..).map(|number| directory.join(format!("relay-{number}.log")));
        let log = logs.find(|log| !log.exists()).expect("a free name");
        let file = File::create(&log).expect("a log file");
        let child = command.stdout(Stdio::null()).stderr(file).spawn().expect("postrider starts");
        Relay { child, log }
    }

    /// All it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for a line with this text in its log.
    pub fn wait_for_log(&mut self, text: &str) {
        eventually(&format!("the relay logs '{text}'; it logged:\n{}", self.log()), || {
            if self.log().contains(text) {
                return Some(());
            }
            assert!(self.is_running(), "the relay ended before it logged '{text}':\n{}", self.log());
            None
        });
    }

    /// Waits until it streams.
    pub fn wait_until_streaming(&mut self) {
        self.wait_for_log("streaming from PostgreSQL");
    }

    /// Whether the process is there.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGTERM.
    pub fn ask_to_stop(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// SIGTERM, and the exit status. A process that has only just been started may not listen to it yet: wait
    /// for something that it does.
    pub fn stop(mut self) -> ExitStatus {
        self.ask_to_stop();
        self.wait()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.wait();
    }

    /// SIGSTOP: it is there, its connections are open, and it does nothing.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the relay ends", || self.child.try_wait().expect("its status can be asked for"))
    }

    /// The most memory that it has held, in KiB (`VmHWM`).
    pub fn memory_peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the kernel reports VmHWM");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of KiB")
    }

    /// The processor time that it has taken, user and system, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: f64 = [11, 12].iter().filter_map(|&field| fields[field].parse::<f64>().ok()).sum();
        // The kernel counts in hundredths of a second on every platform Rust's std supports there.
        ticks / 100.0
    }

    /// Waits until it has ended with a failure.
    pub fn wait_until_failed(&mut self) {
        wait_until("the relay ends", || !self.is_running());
        let status = self.wait();
        assert_eq!(status.code(), Some(1), "{}", self.log());
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        let _ = kill(Pid::from_raw(id), signal);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
