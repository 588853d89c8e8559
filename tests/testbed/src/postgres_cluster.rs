use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;
use crate::command::output_of;
use crate::server::Server;
use crate::user::RunAs;

/// The name and password of the only role; SCRAM is asked for on TCP and on the Unix socket.
pub(crate) const USER: &str = "postgres";
pub(crate) const PASSWORD: &str = "postrider";

/// The paths in a server's directory.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) data: PathBuf,
    pub(crate) socket: PathBuf,
}

impl Layout {
    pub(crate) fn of(server: &Server) -> Self {
        Self { data: server.dir().join("data"), socket: server.dir().join("socket") }
    }

    /// A killed postmaster leaves its lock files. It refuses to start if the process id in them is in
    /// use again by a process of the same user, which happens where many servers come and go; the caller
    /// knows that none of this server's processes is left.
    pub(crate) fn remove_locks(&self, port: u16) -> Result<(), Error> {
        for path in [self.data.join("postmaster.pid"), self.socket.join(format!(".s.PGSQL.{port}.lock"))] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::at("removing", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Makes a data directory and its configuration.
pub(crate) fn create(
    server: &Server,
    layout: &Layout,
    programs: &Path,
    settings: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let make_socket_directory = ["mkdir", "-m", "700"];
    output_of(
        server.command(make_socket_directory[0]).args(&make_socket_directory[1..]).arg(&layout.socket),
    )?;

    let password = server.dir().join("password");
    write(&password, PASSWORD)?;
    server.run_as().own(&password)?;
    let mut initdb: Command = server.command(programs.join("bin/initdb"));
    initdb
        .args(["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"])
        .arg(format!("--username={USER}"))
        .arg(format!("--pwfile={}", password.display()))
        .arg("-D")
        .arg(&layout.data)
        .env("LC_ALL", "C");
    output_of(&mut initdb)?;

    let path = layout.data.join("postgresql.conf");
    let mut text = fs::read_to_string(&path).map_err(Error::at("reading", &path))?;
    text.push_str(&configuration(settings));
    write(&path, text)
}

/// Settings of every testbed server; those of the builder override them.
pub(crate) fn default_settings(programs: &Path, layout: &Layout, port: u16) -> BTreeMap<String, String> {
    let mut settings: BTreeMap<_, _> = [
        ("listen_addresses", "127.0.0.1"),
        ("wal_level", "logical"),
        ("fsync", "off"),
        ("full_page_writes", "off"),
        // Tests share a server, each with slots of its own.
        ("max_replication_slots", "50"),
        ("max_wal_senders", "50"),
        ("max_connections", "200"),
        ("max_prepared_transactions", "20"),
        // In files of the data directory: a killed server would leave segments in /dev/shm.
        ("dynamic_shared_memory_type", "mmap"),
        ("log_line_prefix", "%m [%p] %q%u@%d/%a "),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    settings.insert("port".to_owned(), port.to_string());
    settings.insert("unix_socket_directories".to_owned(), layout.socket.display().to_string());
    if programs.join("lib/postgresql/pg_stat_statements.so").exists() {
        settings.insert("shared_preload_libraries".to_owned(), "pg_stat_statements".to_owned());
    }
    settings
}

fn configuration(settings: &BTreeMap<String, String>) -> String {
    settings.iter().map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''"))).collect()
}

fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::at("writing", path))
}

/// The user that runs the programs must be able to reach them.
pub(crate) fn check_reach(run_as: &RunAs, programs: &Path) -> Result<(), Error> {
    match (run_as, run_as.closed_directory(programs)) {
        (RunAs::Other { name, .. }, Some(path)) => {
            Err(Error::Unreachable { user: name.clone(), path, variable: "POSTRIDER_CACHE" })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_in_a_setting_is_doubled() {
        let settings = [("search_path".to_owned(), "it's".to_owned())].into();
        assert_eq!(configuration(&settings), "search_path = 'it''s'\n");
    }
}
