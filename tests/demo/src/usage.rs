//! What a process took of the machine.

use std::fs;

use anyhow::{Context, Result};

/// Linux reports CPU time to programs in hundredths of a second on every architecture Rust's standard
/// library runs on (proc(5), `sysconf(_SC_CLK_TCK)`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Peak memory and CPU time of a process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Usage {
    pub(crate) peak_rss_kib: u64,
    pub(crate) cpu_seconds: f64,
}

impl Usage {
    /// Of a process that still runs.
    pub(crate) fn of(process: u32) -> Result<Usage> {
        let read = |name: &str| {
            let path = format!("/proc/{process}/{name}");
            fs::read_to_string(&path).context(path)
        };
        parse(&read("status")?, &read("stat")?).context("reading /proc")
    }
}

fn parse(status: &str, stat: &str) -> Option<Usage> {
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let peak_rss_kib = peak.split_whitespace().next()?.parse().ok()?;
    // The program's name is in parentheses and may itself hold some; utime and stime are fields 14 and 15.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    let ticks = f64::from(ticks()?) + f64::from(ticks()?);
    Some(Usage { peak_rss_kib, cpu_seconds: ticks / TICKS_PER_SECOND })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_memory_and_processor_time_are_read_past_a_name_with_parentheses() {
        let status = "Name:\ta) b\nVmPeak:\t  999 kB\nVmHWM:\t   12345 kB\nVmRSS:\t   11111 kB\n";
        let stat = "42 (a) b) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 1 2 3\n";
        let usage = parse(status, stat).unwrap();
        assert_eq!((usage.peak_rss_kib, usage.cpu_seconds), (12345, 3.0));
    }

    #[test]
    fn this_process_has_a_usage() {
        assert!(Usage::of(std::process::id()).unwrap().peak_rss_kib > 0);
    }
}
