//! Brings a real PostgreSQL, a real Kafka, the relay and the shop together and proves the result.
//!
//! The way of a run is in `play`, its parts in `run` and `sequels`; what is proved, and when it holds, is in `proof`.

mod args;
mod arrivals;
mod broker;
mod database;
mod deletion;
mod keep;
mod latency;
mod ledger;
mod play;
mod program;
mod proof;
#[cfg(test)]
mod proof_tests;
mod relay;
mod report;
mod run;
mod sequels;
mod servers;
mod steps;
mod usage;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Args;
use crate::program::Program;
use crate::servers::Servers;

fn main() -> ExitCode {
    demonstrate(&Args::parse()).unwrap_or_else(|error| fail(&error))
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("demo: {error:#}");
    ExitCode::FAILURE
}

/// Success where the proof holds.
fn demonstrate(args: &Args) -> Result<ExitCode> {
    let own = std::env::current_exe().context("looking for the programs")?;
    let programs = own.parent().unwrap_or(Path::new("."));
    let relay = args.postrider.clone().unwrap_or_else(|| programs.join("postrider"));
    if !relay.is_file() {
        bail!("there is no program {}: run script/demo, which builds it", relay.display());
    }
    std::fs::create_dir_all(&args.directory).with_context(|| args.directory.display().to_string())?;
    let log = args.directory.join("postrider.log");
    std::fs::write(&log, "").with_context(|| log.display().to_string())?;

    // Before the first signal handler: until here a Ctrl-C simply ends this process, and the servers with it.
    let servers = Servers::start()?;
    let program = Program {
        path: relay,
        postgres_url: servers.postgres_url(),
        kafka_brokers: servers.kafka_brokers().to_owned(),
        log,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let held = runtime.block_on(show(args, &servers, &program, programs));
    drop(runtime);
    // What is wrong comes before the seconds that cleaning up takes.
    let code = match held {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(&error),
    };
    servers.end();
    Ok(code)
}

/// Whether the proof holds.
async fn show(args: &Args, servers: &Servers, program: &Program, programs: &Path) -> Result<bool> {
    let report = tokio::select! {
        () = interrupted()? => bail!("interrupted"),
        report = play::play(args, servers, program) => report?,
    };
    println!("{report}");
    if !report.holds() {
        println!("The relay's log: {}", program.log.display());
    }
    if args.keep {
        keep::keep(servers, program, programs, interrupted()?).await?;
    }
    Ok(report.holds())
}

/// Resolves at SIGINT or SIGTERM.
fn interrupted() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
