use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

use crate::Error;
use crate::user::RunAs;

const SCRIPT: &str = include_str!("../assets/guardian.sh");

/// The process that owns a server's directory and outlives this process just long enough to clean up.
///
/// Dropping it ends the server, removes the directory, and returns when that is done.
#[derive(Debug)]
pub(crate) struct Guardian {
    run_as: RunAs,
    dir: PathBuf,
    /// Its standard input is the pipe whose end it waits for. Rust opens it close-on-exec, so no server
    /// and no other child process keeps it open.
    watcher: Child,
}

/// What can be sent to all processes of a server at once.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signal {
    Kill,
    Pause,
    Resume,
}

impl Guardian {
    /// Starts the guardian, which makes the directory.
    pub(crate) fn start(kind: &str, run_as: RunAs) -> Result<Self, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);

        let parent = directory_for_servers(&run_as)?;
        // The name has a fixed length, so that no directory's name is the beginning of another's.
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let stamp = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.subsec_nanos());
        let dir = parent.join(format!("postrider-{kind}-{:08x}{count:04x}{stamp:08x}", process::id()));

        // `setsid` keeps the guardian out of reach of a Ctrl-C and of a kill of our process group.
        let mut watcher = run_as
            .command("setsid")
            .args(["sh", "-c", SCRIPT, "testbed-guardian", "watch"])
            .arg(&dir)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Error::running("setsid"))?;

        let mut answer = String::new();
        if let Some(stdout) = watcher.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut answer)
                .map_err(Error::io("waiting for a server's guardian"))?;
        }
        let guardian = Self { run_as, dir, watcher };
        match answer.trim_end() {
            "ready" => Ok(guardian),
            other => Err(Error::Failed {
                what: format!("making {}", guardian.dir.display()),
                output: other.to_owned(),
            }),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn run_as(&self) -> &RunAs {
        &self.run_as
    }

    /// Sends a signal to every process of the server, if any. After `Kill`, none of them is left.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Error> {
        let name = match signal {
            Signal::Kill => "KILL",
            Signal::Pause => "STOP",
            Signal::Resume => "CONT",
        };
        let status = self
            .run_as
            .command("sh")
            .args(["-c", SCRIPT, "testbed-guardian", "signal"])
            .arg(&self.dir)
            .arg(name)
            .current_dir("/")
            .status()
            .map_err(Error::running("sh"))?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Failed {
            what: format!("sending SIG{name} to the server in {}", self.dir.display()),
            output: status.to_string(),
        })
    }
}

impl Guardian {
    /// Ends the server and removes its directory. Does nothing the second time.
    pub(crate) fn end(&mut self) {
        drop(self.watcher.stdin.take());
        // Nothing can be done about a guardian that cannot be waited for.
        let _ = self.watcher.wait();
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.end();
    }
}

/// `$TMPDIR` or `/tmp`, unless the server's user could not make a directory there or the path is so
/// long that a Unix socket below it would not fit into its 107 bytes.
fn directory_for_servers(run_as: &RunAs) -> Result<PathBuf, Error> {
    const PATH_BYTES_MAX: usize = 40;

    let wanted = env::temp_dir();
    let wanted = fs::canonicalize(&wanted).map_err(Error::at("looking at", &wanted))?;
    if wanted.as_os_str().len() <= PATH_BYTES_MAX && run_as.may_create_in(&wanted) {
        return Ok(wanted);
    }
    Ok(PathBuf::from("/tmp"))
}
