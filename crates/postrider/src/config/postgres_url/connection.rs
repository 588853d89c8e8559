//! `postgres.url` as a connection, and what it says of TLS.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode, SslNegotiation};

use super::conninfo::{self, Parameters};
use super::suggest::misspelt;
use super::tls::{RootCertificates, TlsOptions, Verify};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What tokio-postgres understands. `sslmode` is not among them: it knows only some of its values.
const PARAMETERS: [&str; 18] = [
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "sslnegotiation",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];

/// What is read here (PostgreSQL documentation, "Parameter Key Words").
const TLS_PARAMETERS: [&str; 5] = ["sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword"];

/// The connection and its TLS; else what is wrong, in words that hold nothing of the text but the names of
/// parameters that exist.
pub(crate) fn parse(text: &str) -> Result<(tokio_postgres::Config, TlsOptions), String> {
    let mut others = Parameters::new();
    let mut tls = Parameters::new();
    for (name, value) in conninfo::parameters(text)? {
        let list = match name.as_str() {
            name if TLS_PARAMETERS.contains(&name) => &mut tls,
            name if PARAMETERS.contains(&name) => &mut others,
            _ => return Err(unknown(&name)),
        };
        // As in libpq, the last one counts; tokio-postgres would add up the hosts.
        list.retain(|(earlier, _)| *earlier != name);
        list.push((name, value));
    }
    let mut config: tokio_postgres::Config =
        conninfo::to_pairs(&others).parse().map_err(|error| invalid(&error))?;
    check(&config)?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_application_name().is_none() {
        config.application_name("postrider");
    }
    let tls = tls_options(&mut config, tls)?;
    Ok((config, tls))
}

/// The name itself may be a part of a password that was not escaped.
fn unknown(name: &str) -> String {
    match misspelt(name, PARAMETERS.into_iter().chain(TLS_PARAMETERS)) {
        Some(near) => format!("has a parameter that is not known; the nearest is {near}"),
        None => format!(
            "has a parameter that is not known; these are: {}, {}",
            PARAMETERS.join(", "),
            TLS_PARAMETERS.join(", ")
        ),
    }
}

fn invalid(error: &tokio_postgres::Error) -> String {
    let reason = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    match PARAMETERS.into_iter().find(|name| reason.contains(&format!("`{name}`"))) {
        Some(name) => format!("has a value for {name} that {name} does not take"),
        None => "cannot be read".to_owned(),
    }
}

fn check(config: &tokio_postgres::Config) -> Result<(), String> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let count = hosts.len().max(addresses.len());
    if count == 0 {
        return Err("names no host".to_owned());
    }
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err(format!("has {} hosts and {} hostaddrs", hosts.len(), addresses.len()));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(format!("has {count} hosts and {} ports", ports.len()));
    }
    let is_host = |host: &Host| match host {
        Host::Tcp(name) => conninfo::is_host(name),
        Host::Unix(_) => true,
    };
    match hosts.iter().all(is_host) {
        true => Ok(()),
        false => {
            Err("has a host that is none; in a password '/' is written %2F, ':' %3A and '@' %40".to_owned())
        }
    }
}

fn tls_options(config: &mut tokio_postgres::Config, parameters: Parameters) -> Result<TlsOptions, String> {
    let mut options = TlsOptions::default();
    let mut mode = None;
    for (name, value) in parameters {
        match name.as_str() {
            "sslmode" => mode = Some(value),
            "sslrootcert" if value == "system" => options.root = Some(RootCertificates::System),
            "sslrootcert" => options.root = Some(RootCertificates::File(PathBuf::from(value))),
            "sslcert" => options.certificate = Some(PathBuf::from(value)),
            "sslkey" => options.key = Some(PathBuf::from(value)),
            _ => options.password = Some(value),
        }
    }
    let system = options.root == Some(RootCertificates::System);
    let (mode, verify) = match mode.as_deref() {
        None if system => (SslMode::Require, Verify::ChainAndHost),
        Some("verify-full") => (SslMode::Require, Verify::ChainAndHost),
        // Anybody can have a certificate of a public authority, so that libpq refuses this too.
        Some(_) if system => return Err("takes sslrootcert=system only with sslmode=verify-full".to_owned()),
        Some("disable") => (SslMode::Disable, Verify::Nothing),
        None | Some("allow" | "prefer") => (SslMode::Prefer, Verify::Nothing),
        Some("require") => (SslMode::Require, Verify::Nothing),
        Some("verify-ca") => (SslMode::Require, Verify::Chain),
        Some(_) => {
            return Err("takes sslmode=disable, prefer, require, verify-ca or verify-full".to_owned());
        }
    };
    options.verify = match verify {
        Verify::Nothing if options.root.is_some() => Verify::Chain,
        verify => verify,
    };
    if options.certificate.is_some() != options.key.is_some() {
        return Err("takes sslcert and sslkey only together".to_owned());
    }
    options.direct = config.get_ssl_negotiation() == SslNegotiation::Direct;
    if options.direct && mode != SslMode::Require {
        return Err("takes sslnegotiation=direct only with sslmode=require or stronger".to_owned());
    }
    // A Unix socket has no TLS; libpq ignores sslmode there.
    let only_sockets = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)))
        && config.get_hostaddrs().is_empty();
    config.ssl_mode(if only_sockets { SslMode::Disable } else { mode });
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text).map(drop).unwrap_err()
    }

    #[test]
    fn the_last_of_a_parameter_counts() {
        let (config, _) = parse("postgres://u@db:1/shop?host=other&port=2").unwrap();
        assert_eq!(config.get_hosts(), [Host::Tcp("other".to_owned())]);
        assert_eq!(config.get_ports(), [2]);
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let (config, _) = parse("host=db").unwrap();
        assert_eq!(config.get_connect_timeout(), Some(&CONNECT_TIMEOUT));
        assert_eq!(config.get_application_name(), Some("postrider"));
        let (config, _) = parse("host=db connect_timeout=3 application_name=mine").unwrap();
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(3)));
        assert_eq!(config.get_application_name(), Some("mine"));
    }

    #[test]
    fn a_unix_socket_has_no_tls_whatever_sslmode_says() {
        let (config, _) = parse("postgres://%2Frun%2Fpostgresql/shop?sslmode=require").unwrap();
        assert_eq!(config.get_ssl_mode(), SslMode::Disable);
        let (config, _) = parse("host=/run/postgresql,db sslmode=require").unwrap();
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
    }

    #[test]
    fn several_hosts_go_with_as_many_ports_or_one() {
        assert!(parse("host=a,b port=1,2 target_session_attrs=read-write").is_ok());
        assert!(parse("host=a,b port=1").is_ok());
        assert_eq!(error("host=a,b port=1,2,3"), "has 2 hosts and 3 ports");
        assert_eq!(error("host=a,b hostaddr=127.0.0.1"), "has 2 hosts and 1 hostaddrs");
        assert_eq!(error("user=u"), "names no host");
    }

    #[test]
    fn what_is_not_understood_is_named_by_what_is() {
        assert_eq!(
            error("host=db sslmod=require"),
            "has a parameter that is not known; the nearest is sslmode"
        );
        assert!(
            error("host=db hunter2=x").starts_with("has a parameter that is not known; these are: user, ")
        );
        let takes = "has a value for target_session_attrs that target_session_attrs does not take";
        assert_eq!(error("host=db target_session_attrs=hunter2"), takes);
        assert!(error("host=db sslnegotiation=direct").contains("only with sslmode=require"));
        assert!(error("host='d b'").starts_with("has a host that is none"));
    }
}
