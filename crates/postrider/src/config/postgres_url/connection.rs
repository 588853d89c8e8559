//! `postgres.url`: the connection parameters and the TLS options.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode, SslNegotiation, TargetSessionAttrs};

use crate::config::postgres_url::conninfo::{self, Parameters};
use crate::config::postgres_url::tls::{CertificateCheck, RootCertificates, TlsOptions};
use crate::config::settings::suggest::did_you_mean;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The parameters that tokio-postgres parses. `sslmode` is not one of them, because it lacks `verify-ca` and
/// `verify-full`.
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

/// The parameters parsed here (PostgreSQL documentation, "Parameter Key Words").
const TLS_PARAMETERS: [&str; 5] = ["sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword"];

/// Parses the URL.
///
/// # Errors
///
/// The problem. It quotes nothing from the URL but names of known parameters, because anything else may be part of a
/// password.
pub(crate) fn parse(text: &str) -> Result<(tokio_postgres::Config, TlsOptions), String> {
    let mut others = Parameters::new();
    let mut tls = Parameters::new();
    for (name, value) in conninfo::parameters(text)? {
        let list = match name.as_str() {
            name if TLS_PARAMETERS.contains(&name) => &mut tls,
            name if PARAMETERS.contains(&name) => &mut others,
            _ => return Err(unknown(&name)),
        };
        // As in libpq, the last occurrence wins; tokio-postgres would append hosts.
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
    // The relay needs the primary. With one host there is nothing to choose from, and a standby is named as such.
    let has_attrs = others.iter().any(|(name, _)| name == "target_session_attrs");
    if !has_attrs && config.get_hosts().len().max(config.get_hostaddrs().len()) > 1 {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    let tls = tls_options(&mut config, tls)?;
    Ok((config, tls))
}

/// Does not quote the name, which may be part of an unescaped password.
fn unknown(name: &str) -> String {
    match did_you_mean(name, PARAMETERS.into_iter().chain(TLS_PARAMETERS)) {
        Some(near) => format!("has an unknown parameter; did you mean {near}?"),
        None => format!(
            "has an unknown parameter; known parameters are {}, {}",
            PARAMETERS.join(", "),
            TLS_PARAMETERS.join(", ")
        ),
    }
}

fn invalid(error: &tokio_postgres::Error) -> String {
    let reason = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    match PARAMETERS.into_iter().find(|name| reason.contains(&format!("`{name}`"))) {
        Some(name) => format!("has an invalid value for {name}"),
        None => "is invalid".to_owned(),
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
            Err("has an invalid host; in a password, write '/' as %2F, ':' as %3A and '@' as %40".to_owned())
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
    let (mode, check) = match mode.as_deref() {
        None if system => (SslMode::Require, CertificateCheck::ChainAndHost),
        Some("verify-full") => (SslMode::Require, CertificateCheck::ChainAndHost),
        // Public authorities issue certificates to anyone with a domain, so libpq rejects this too.
        Some(_) if system => {
            return Err("has sslrootcert=system, which requires sslmode=verify-full".to_owned());
        }
        Some("disable") => (SslMode::Disable, CertificateCheck::Nothing),
        None | Some("allow" | "prefer") => (SslMode::Prefer, CertificateCheck::Nothing),
        Some("require") => (SslMode::Require, CertificateCheck::Nothing),
        Some("verify-ca") => (SslMode::Require, CertificateCheck::Chain),
        Some(_) => {
            return Err(
                "has an invalid sslmode; expected disable, prefer, require, verify-ca or verify-full"
                    .to_owned(),
            );
        }
    };
    options.check = match check {
        CertificateCheck::Nothing if options.root.is_some() => CertificateCheck::Chain,
        check => check,
    };
    if options.certificate.is_some() != options.key.is_some() {
        return Err("has only one of sslcert and sslkey; set both or neither".to_owned());
    }
    options.direct = config.get_ssl_negotiation() == SslNegotiation::Direct;
    if options.direct && mode != SslMode::Require {
        return Err("has sslnegotiation=direct, which requires sslmode=require or stronger".to_owned());
    }
    // Unix sockets have no TLS; libpq ignores sslmode there.
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
    fn parse_uses_the_last_occurrence_of_a_parameter() {
        let (config, _) = parse("postgres://u@db:1/shop?host=other&port=2").unwrap();
        assert_eq!(config.get_hosts(), [Host::Tcp("other".to_owned())]);
        assert_eq!(config.get_ports(), [2]);
    }

    #[test]
    fn parse_sets_default_timeout_and_application_name() {
        let (config, _) = parse("host=db").unwrap();
        assert_eq!(config.get_connect_timeout(), Some(&CONNECT_TIMEOUT));
        assert_eq!(config.get_application_name(), Some("postrider"));
        let (config, _) = parse("host=db connect_timeout=3 application_name=mine").unwrap();
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(3)));
        assert_eq!(config.get_application_name(), Some("mine"));
    }

    #[test]
    fn parse_disables_tls_for_unix_sockets_only() {
        let (config, _) = parse("postgres://%2Frun%2Fpostgresql/shop?sslmode=require").unwrap();
        assert_eq!(config.get_ssl_mode(), SslMode::Disable);
        let (config, _) = parse("host=/run/postgresql,db sslmode=require").unwrap();
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
    }

    #[test]
    fn parse_requires_as_many_ports_as_hosts_or_one() {
        assert!(parse("host=a,b port=1,2 target_session_attrs=read-write").is_ok());
        assert!(parse("host=a,b port=1").is_ok());
        assert_eq!(error("host=a,b port=1,2,3"), "has 2 hosts and 3 ports");
        assert_eq!(error("host=a,b hostaddr=127.0.0.1"), "has 2 hosts and 1 hostaddrs");
        assert_eq!(error("user=u"), "names no host");
    }

    #[test]
    fn parse_looks_for_the_primary_among_several_hosts() {
        let attrs = |url: &str| parse(url).unwrap().0.get_target_session_attrs();
        assert_eq!(attrs("postgres://u@standby,primary/db"), TargetSessionAttrs::ReadWrite);
        assert_eq!(attrs("hostaddr=10.0.0.1,10.0.0.2"), TargetSessionAttrs::ReadWrite);
        assert_eq!(attrs("postgres://u@primary/db"), TargetSessionAttrs::Any);
        assert_eq!(attrs("postgres://u@a,b/db?target_session_attrs=any"), TargetSessionAttrs::Any);
        assert_eq!(attrs("postgres://u@a,b/db?target_session_attrs=read-only"), TargetSessionAttrs::ReadOnly);
    }

    #[test]
    fn errors_name_known_parameters_only() {
        assert_eq!(error("host=db sslmod=require"), "has an unknown parameter; did you mean sslmode?");
        assert!(
            error("host=db hunter2=x").starts_with("has an unknown parameter; known parameters are user, ")
        );
        let invalid = "has an invalid value for target_session_attrs";
        assert_eq!(error("host=db target_session_attrs=hunter2"), invalid);
        assert!(error("host=db sslnegotiation=direct").contains("requires sslmode=require"));
        assert!(error("host='d b'").starts_with("has an invalid host"));
    }
}
