//! `testbed fetch` fills the cache of servers; `testbed up` runs a PostgreSQL and a Kafka.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use testbed::{Error, Kafka, POSTGRES_DEFAULT, POSTGRES_VERSIONS, Postgres, fetch_kafka, fetch_postgres};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
usage: testbed fetch [--pg VERSION,...]  fetches the servers' programs into the cache
       testbed up [--pg VERSION]         runs a PostgreSQL and a Kafka until standard input ends,
                                         or SIGINT or SIGTERM comes

VERSION is a PostgreSQL major version, 14 to 18, or 'all' (fetch); default: $POSTRIDER_TEST_PG, or 17
";

enum Command {
    Fetch(Vec<u32>),
    Up(u32),
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let Some(command) = parse(&arguments, env::var("POSTRIDER_TEST_PG").ok().as_deref()) else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    let done = match command {
        Command::Fetch(versions) => fetch(&versions),
        Command::Up(version) => up(version),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("testbed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String], from_environment: Option<&str>) -> Option<Command> {
    let (command, options) = arguments.split_first()?;
    let versions = match options {
        [] => match from_environment {
            None | Some("") => vec![POSTGRES_DEFAULT],
            Some(version) => vec![version.parse().ok()?],
        },
        [option, all] if option == "--pg" && all == "all" => {
            POSTGRES_VERSIONS.iter().map(|(version, _)| *version).collect()
        }
        [option, list] if option == "--pg" => {
            list.split(',').map(|version| version.parse().ok()).collect::<Option<_>>()?
        }
        _ => return None,
    };
    match (command.as_str(), versions.as_slice()) {
        ("fetch", _) => Some(Command::Fetch(versions)),
        ("up", [version]) => Some(Command::Up(*version)),
        _ => None,
    }
}

fn fetch(versions: &[u32]) -> Result<(), Error> {
    let report = |line: &str| println!("testbed: {line}");
    for version in versions {
        let place = fetch_postgres(*version, &report)?;
        report(&format!("PostgreSQL {version} is in {}", place.display()));
    }
    let place = fetch_kafka(&report)?;
    report(&format!("Kafka is in {}", place.display()));
    Ok(())
}

fn up(version: u32) -> Result<(), Error> {
    let system = |what: &'static str| move |cause| Error::Io { what: what.to_owned(), cause };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("starting the runtime"))?;
    // Before the servers, so that a signal during their start also stops them in order.
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        let on = |kind| signal(kind).map_err(system("listening for signals"));
        (on(SignalKind::interrupt())?, on(SignalKind::terminate())?)
    };

    let postgres = Postgres::builder().version(version).start()?;
    let kafka = Kafka::start()?;
    let pid = |pid: Option<i32>| pid.map_or_else(String::new, |pid| pid.to_string());
    println!("PGURL={}", postgres.url("postgres"));
    println!("PGDATA={}", postgres.data_dir().display());
    println!("PGPID={}", pid(postgres.pid()));
    println!("KAFKA_BROKERS={}", kafka.brokers());
    println!("KAFKA_DATA={}", kafka.data_dir().display());
    println!("KAFKA_PID={}", pid(kafka.pid()));
    io::stdout().flush().map_err(system("writing to standard output"))?;

    let (ended, input_ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // An input that cannot be read has ended too.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        ended.send(())
    });
    runtime.block_on(async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = input_ended => {}
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn fetch_accepts_a_list_of_versions_and_all() {
        assert!(matches!(parse(&words("fetch --pg 14,18"), None), Some(Command::Fetch(v)) if v == [14, 18]));
        assert!(matches!(parse(&words("fetch --pg all"), None), Some(Command::Fetch(v)) if v.len() == 5));
    }

    #[test]
    fn version_defaults_to_the_environment() {
        assert!(matches!(parse(&words("up"), Some("15")), Some(Command::Up(15))));
        assert!(matches!(parse(&words("up --pg 16"), Some("15")), Some(Command::Up(16))));
        assert!(matches!(parse(&words("up"), Some("")), Some(Command::Up(17))));
    }

    #[test]
    fn invalid_arguments_are_a_usage_error() {
        for line in ["", "down", "up --pg 14,15", "fetch --pg x", "up --pg"] {
            assert!(parse(&words(line), None).is_none(), "{line}");
        }
    }
}
