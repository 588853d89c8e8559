use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::Signal;

use crate::distribution::{POSTGRES_DEFAULT, fetch_postgres, report_to_stderr};
use crate::port::{self, Port};
use crate::postgres_cluster::{self, Layout, PASSWORD, USER};
use crate::server::{Probe, Server};
use crate::user::RunAs;
use crate::{Error, tls, wait};

/// A PostgreSQL server on 127.0.0.1 and on a Unix socket, with `wal_level = logical`. Superuser `postgres`, password
/// `postrider`, SCRAM. Dropping it stops the server and removes its data.
#[derive(Debug)]
pub struct Postgres {
    version: u32,
    programs: PathBuf,
    layout: Layout,
    certificate: Option<PathBuf>,
    databases: AtomicU32,
    server: Server,
    port: Port,
}

/// Configures a [`Postgres`].
#[derive(Debug, Clone, Default)]
pub struct PostgresBuilder {
    version: Option<u32>,
    tls: bool,
    settings: BTreeMap<String, String>,
}

impl Postgres {
    /// A server of the version in `$POSTRIDER_TEST_PG` (14 to 18), else of
    /// [`POSTGRES_DEFAULT`](crate::POSTGRES_DEFAULT).
    ///
    /// # Errors
    /// As [`PostgresBuilder::start`].
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// A server with other settings.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::default()
    }

    /// Always 127.0.0.1.
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The port; restarts keep it.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The major version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The superuser's password.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// The directory of the Unix socket. Only root and the server's user can enter it.
    pub fn socket_dir(&self) -> &Path {
        &self.layout.socket
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.layout.data
    }

    /// With [`PostgresBuilder::tls`], the certificate (PEM) a client must trust.
    pub fn certificate(&self) -> Option<&Path> {
        self.certificate.as_deref()
    }

    /// A connection URL, password included.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@{}:{}/{database}", self.host(), self.port())
    }

    /// Creates an empty database and returns its name, `prefix` and a number.
    ///
    /// # Errors
    /// The server's answer.
    pub fn create_database(&self, prefix: &str) -> Result<String, Error> {
        let name = format!("{prefix}_{}", self.databases.fetch_add(1, Ordering::Relaxed) + 1);
        let sql = format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""));
        self.execute("postgres", &sql)?;
        Ok(name)
    }

    /// Runs SQL as the superuser. Several statements run in one transaction.
    ///
    /// # Errors
    /// The server's answer.
    pub fn execute(&self, database: &str, sql: &str) -> Result<(), Error> {
        simple_query(&self.url(database), sql).map_err(|why| self.server.refused(sql, why))
    }

    /// Stops it the "fast" way: sessions are ended, the WAL is flushed, walsenders send the rest of it.
    ///
    /// # Errors
    /// It did not stop in time; it has been killed.
    pub fn stop(&self) -> Result<(), Error> {
        self.server.stop(Signal::SIGINT)
    }

    /// SIGKILL to the postmaster and all its children at once, like a power failure.
    ///
    /// # Errors
    /// A process survived.
    pub fn kill(&self) -> Result<(), Error> {
        self.server.kill()
    }

    /// SIGSTOP to all its processes: connections stay open and nothing answers.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn pause(&self) -> Result<(), Error> {
        self.server.pause()
    }

    /// Ends a [`pause`](Self::pause).
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn resume(&self) -> Result<(), Error> {
        self.server.resume()
    }

    /// Starts it unless it runs, on the same port and data, and waits until it accepts connections.
    ///
    /// # Errors
    /// It did not start; the error contains the end of its log.
    pub fn start_again(&self) -> Result<(), Error> {
        let start = |command: &mut Command| {
            command.arg("-D").arg(&self.layout.data).env("LC_ALL", "C");
            self.layout.remove_locks(self.port())
        };
        let probe = || match simple_query(&self.url("postgres"), "SELECT 1") {
            Ok(()) => Probe::Ready,
            Err(why) => Probe::NotYet(why),
        };
        self.server.start(&self.programs.join("bin/postgres"), start, probe)
    }

    /// [`stop`](Self::stop), then [`start_again`](Self::start_again).
    ///
    /// # Errors
    /// As both.
    pub fn restart(&self) -> Result<(), Error> {
        self.stop()?;
        self.start_again()
    }

    /// Whether the postmaster runs, paused or not.
    pub fn is_running(&self) -> bool {
        self.server.is_running()
    }

    /// The last `lines` lines of the server's log.
    pub fn log_tail(&self, lines: usize) -> String {
        self.server.log_tail(lines)
    }

    /// The postmaster's process id, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.server.main_process().map(nix::unistd::Pid::as_raw)
    }
}

impl PostgresBuilder {
    /// The major version, 14 to 18.
    #[must_use]
    pub fn version(mut self, major: u32) -> Self {
        self.version = Some(major);
        self
    }

    /// A line of `postgresql.conf`; `ALTER SYSTEM` can change it later.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Off by default: a killed server loses nothing without it.
    #[must_use]
    pub fn fsync(self, on: bool) -> Self {
        let value = if on { "on" } else { "off" };
        self.setting("fsync", value).setting("full_page_writes", value)
    }

    /// `ssl = on`, with a self-signed certificate for `localhost` and 127.0.0.1 created at the start.
    #[must_use]
    pub fn tls(mut self, on: bool) -> Self {
        self.tls = on;
        self
    }

    /// A server with its data directory and its port, not started yet: the first
    /// [`start_again`](Postgres::start_again) starts it.
    ///
    /// # Errors
    /// The programs could not be fetched, or `initdb` failed.
    pub fn prepare(self) -> Result<Postgres, Error> {
        let version = self.version.map_or_else(chosen_version, Ok)?;
        let programs = fetch_postgres(version, &report_to_stderr)?;
        let run_as = RunAs::for_postgres()?;
        postgres_cluster::check_reach(&run_as, &programs)?;
        let port = Port::claim()?;
        let server = Server::new(format!("PostgreSQL {version}"), "postgres", run_as)?;
        let layout = Layout::of(&server);

        let mut settings = postgres_cluster::default_settings(&programs, &layout, port.number());
        let certificate = self.tls.then(|| tls::write_certificate(server.dir())).transpose()?;
        if let Some((key, certificate)) = &certificate {
            fs::set_permissions(key, fs::Permissions::from_mode(0o600))
                .map_err(Error::at("closing to others", key))?;
            for path in [key, certificate] {
                server.run_as().own(path)?;
            }
            settings.insert("ssl".to_owned(), "on".to_owned());
            settings.insert("ssl_key_file".to_owned(), key.display().to_string());
            settings.insert("ssl_cert_file".to_owned(), certificate.display().to_string());
        }
        settings.extend(self.settings);
        postgres_cluster::create(&server, &layout, &programs, &settings)?;

        Ok(Postgres {
            version,
            programs,
            layout,
            certificate: certificate.map(|(_, certificate)| certificate),
            databases: AtomicU32::new(0),
            server,
            port,
        })
    }

    /// A server that accepts connections.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare) and [`Postgres::start_again`].
    pub fn start(self) -> Result<Postgres, Error> {
        port::retry_when_taken(|| {
            let postgres = self.clone().prepare()?;
            postgres.start_again()?;
            Ok(postgres)
        })
    }
}

fn chosen_version() -> Result<u32, Error> {
    match env::var("POSTRIDER_TEST_PG") {
        Ok(text) if !text.is_empty() => text.parse().map_err(|_| {
            Error::Unsupported(format!("POSTRIDER_TEST_PG is '{text}'; it takes 14, 15, 16, 17 or 18"))
        }),
        _ => Ok(POSTGRES_DEFAULT),
    }
}

/// On a thread and a runtime of its own, because the caller may be on a runtime already, which does not
/// let its threads block on another.
fn simple_query(url: &str, sql: &str) -> Result<(), String> {
    let query = async {
        let (client, connection) =
            tokio_postgres::connect(url, tokio_postgres::NoTls).await.map_err(|error| explain(&error))?;
        let work = async move { client.batch_execute(sql).await };
        // The connection ends by itself when the work has dropped its client.
        let (done, _) = tokio::join!(work, connection);
        done.map_err(|error| explain(&error))
    };
    let limited = async { tokio::time::timeout(wait::DEADLINE, query).await };
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|e| e.to_string())?;
            runtime.block_on(limited).map_err(|_| format!("no answer within {:?}", wait::DEADLINE))?
        });
        worker.join().unwrap_or_else(|_| Err("the query's thread panicked".to_owned()))
    })
}

/// The client's own message is only "db error" or "error connecting".
fn explain(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(answer) => answer.to_string(),
        None => std::error::Error::source(error)
            .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")),
    }
}
