//! The configured hosts, in the order in which they are tried.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio_postgres::config::{Config, Host};

use crate::protocol::error::Error;

const PORT_DEFAULT: u16 = 5432;

/// One host of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostTarget {
    pub(crate) route: HostRoute,
    /// The host name to verify the server's certificate against.
    pub(crate) hostname: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostRoute {
    Name(String, u16),
    Address(SocketAddr),
    Unix(PathBuf),
}

/// # Errors
/// Lists of hosts, addresses and ports with different lengths. Not retryable.
pub(crate) fn targets(config: &Config) -> Result<Vec<HostTarget>, Error> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err(mismatch(hosts.len(), "hosts", addresses.len(), "hostaddrs"));
    }
    let count = hosts.len().max(addresses.len());
    if ports.len() > 1 && ports.len() != count {
        return Err(mismatch(count, "hosts", ports.len(), "ports"));
    }
    let target = |index: usize| {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(PORT_DEFAULT);
        let (route, hostname) = match (hosts.get(index), addresses.get(index)) {
            (Some(Host::Tcp(name)), Some(address)) => {
                (HostRoute::Address(SocketAddr::new(*address, port)), Some(name.clone()))
            }
            (_, Some(address)) => (HostRoute::Address(SocketAddr::new(*address, port)), None),
            (Some(Host::Tcp(name)), None) => (HostRoute::Name(name.clone(), port), Some(name.clone())),
            (Some(Host::Unix(directory)), None) => {
                (HostRoute::Unix(directory.join(format!(".s.PGSQL.{port}"))), None)
            }
            (None, None) => return None,
        };
        Some(HostTarget { route, hostname })
    };
    Ok((0..count).filter_map(target).collect())
}

fn mismatch(count: usize, of: &str, other_count: usize, of_other: &str) -> Error {
    Error::permanent(format!("the configuration lists {count} {of} and {other_count} {of_other}"))
        .with_remedy(Some(format!("list as many {of_other} as {of}, or a single port for all hosts")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(config: &str) -> Result<Vec<HostTarget>, Error> {
        targets(&config.parse().expect("a configuration"))
    }

    #[test]
    fn targets_pairs_hosts_with_ports_in_order() {
        let found = parse("host=a,/run/pg,b port=1,2,3").expect("targets");
        let routes: Vec<HostRoute> = found.into_iter().map(|target| target.route).collect();
        let unix = HostRoute::Unix(PathBuf::from("/run/pg/.s.PGSQL.2"));
        assert_eq!(routes, [HostRoute::Name("a".to_owned(), 1), unix, HostRoute::Name("b".to_owned(), 3)]);
    }

    #[test]
    fn targets_uses_a_single_port_for_all_hosts_and_5432_by_default() {
        let found = parse("host=a,b port=7").expect("targets");
        assert_eq!(found[1].route, HostRoute::Name("b".to_owned(), 7));
        assert_eq!(parse("host=a").expect("targets")[0].route, HostRoute::Name("a".to_owned(), 5432));
    }

    #[test]
    fn targets_connects_to_hostaddr_and_verifies_host() {
        let found = parse("host=db.example hostaddr=127.0.0.1").expect("targets");
        let expected = HostTarget {
            route: HostRoute::Address("127.0.0.1:5432".parse().expect("an address")),
            hostname: Some("db.example".to_owned()),
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn targets_rejects_lists_of_different_lengths() {
        for config in ["host=a,b hostaddr=127.0.0.1", "host=a,b,c port=1,2"] {
            assert!(!parse(config).expect_err(config).is_retryable(), "{config}");
        }
    }
}
