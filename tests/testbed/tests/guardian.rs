//! Servers end with the process that started them, however it ends.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Up {
    process: Child,
    lines: HashMap<String, String>,
}

fn up() -> Up {
    let mut process = Command::new(env!("CARGO_BIN_EXE_testbed"))
        .arg("up")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(process.stdout.take().unwrap());
    let lines = stdout
        .lines()
        .map_while(Result::ok)
        .take(6)
        .filter_map(|line| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect();
    Up { process, lines }
}

impl Up {
    fn traces(&self) -> Vec<String> {
        let proc = |name: &str| format!("/proc/{}", self.lines[name]);
        vec![proc("PGPID"), proc("KAFKA_PID"), self.lines["PGDATA"].clone(), self.lines["KAFKA_DATA"].clone()]
    }

    fn leaves_nothing(&self) {
        for trace in self.traces() {
            let end = Instant::now() + Duration::from_secs(60);
            while Path::new(&trace).exists() && !is_zombie(&trace) {
                assert!(Instant::now() < end, "{trace} is still there");
                std::thread::yield_now();
            }
        }
    }
}

/// Where process 1 does not reap, a process that has ended keeps its entry.
fn is_zombie(process: &str) -> bool {
    std::fs::read_to_string(format!("{process}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn servers_end_with_a_killed_owner() {
    let mut up = up();
    assert!(up.traces().iter().all(|trace| Path::new(trace).exists()));
    up.process.kill().unwrap();
    up.process.wait().unwrap();
    up.leaves_nothing();
}

#[test]
fn servers_end_with_an_owner_that_exits() {
    let mut up = up();
    drop(up.process.stdin.take());
    assert!(up.process.wait().unwrap().success());
    up.leaves_nothing();
}
