use std::fmt;
use std::io;
use std::net::SocketAddr;

use tokio::time::timeout;
use tokio_postgres::config::{Config, TargetSessionAttrs};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use crate::protocol::client::ReplicationClient;
use crate::protocol::error::Error;
use crate::protocol::hosts::{HostRoute, HostTarget, targets};
use crate::protocol::socket::Socket;
use crate::protocol::startup::start_up;
use crate::protocol::tls::secure;

/// Opens a logical replication connection to the configured database.
///
/// Hosts, and the addresses of a host name, are tried in order until one accepts the connection and matches
/// `target_session_attrs`; `load_balance_hosts` is ignored. `connect_timeout` limits each attempt at one address,
/// authentication included; without it a server that accepts the connection and never answers blocks for ever.
/// All other settings mean what they mean in tokio-postgres.
///
/// # Errors
/// The error of the only address that was tried, or one that lists the errors of all of them. It is retryable if
/// any of them is.
pub async fn connect<T>(config: &Config, mut tls: T) -> Result<ReplicationClient, Error>
where
    T: MakeTlsConnect<Socket> + Send + 'static,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    let mut errors = Vec::new();
    for target in targets(config)? {
        let addresses = match resolve(&target.route).await {
            Ok(addresses) => addresses,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        for address in addresses {
            match connect_with_timeout(&address, &target, config, &mut tls).await {
                Ok(client) => return Ok(client),
                Err(error) => {
                    tracing::debug!(%address, %error, "could not connect; trying the next address");
                    errors.push(error.at(&address));
                }
            }
        }
    }
    Err(Error::of_hosts(errors))
}

/// A resolved address of a server.
enum ServerAddress<'a> {
    Tcp(SocketAddr),
    Unix(&'a std::path::Path),
}

impl fmt::Display for ServerAddress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerAddress::Tcp(address) => address.fmt(f),
            ServerAddress::Unix(path) => path.display().fmt(f),
        }
    }
}

async fn resolve(route: &HostRoute) -> Result<Vec<ServerAddress<'_>>, Error> {
    match route {
        HostRoute::Unix(path) => Ok(vec![ServerAddress::Unix(path)]),
        HostRoute::Address(address) => Ok(vec![ServerAddress::Tcp(*address)]),
        HostRoute::Name(name, port) => {
            let unresolved = |reason: &dyn fmt::Display| {
                Error::retryable(format!("cannot resolve host {name:?}: {reason}"))
            };
            let found: Vec<ServerAddress<'_>> = tokio::net::lookup_host((name.as_str(), *port))
                .await
                .map_err(|error| unresolved(&error))?
                .map(ServerAddress::Tcp)
                .collect();
            if found.is_empty() { Err(unresolved(&"it has no addresses")) } else { Ok(found) }
        }
    }
}

async fn connect_with_timeout<T>(
    address: &ServerAddress<'_>,
    target: &HostTarget,
    config: &Config,
    tls: &mut T,
) -> Result<ReplicationClient, Error>
where
    T: MakeTlsConnect<Socket> + 'static,
    T::Stream: Send + 'static,
{
    let attempt = connect_once(address, target, config, tls);
    match config.get_connect_timeout() {
        None => attempt.await,
        Some(limit) => timeout(*limit, attempt).await.unwrap_or_else(|_| {
            Err(Error::retryable(format!(
                "not connected within connect_timeout of {} s",
                limit.as_secs_f32()
            )))
        }),
    }
}

async fn connect_once<T>(
    address: &ServerAddress<'_>,
    target: &HostTarget,
    config: &Config,
    tls: &mut T,
) -> Result<ReplicationClient, Error>
where
    T: MakeTlsConnect<Socket> + 'static,
    T::Stream: Send + 'static,
{
    let socket = match address {
        ServerAddress::Tcp(address) => Socket::tcp(*address, config).await,
        ServerAddress::Unix(path) => Socket::unix(path).await,
    };
    let socket = socket.map_err(|error: io::Error| Error::retryable(format!("cannot connect: {error}")))?;
    let secured = secure(socket, config, tls, target.hostname.as_deref()).await?;
    let mut client = ReplicationClient::new(start_up(secured, config).await?);
    let required = match config.get_target_session_attrs() {
        TargetSessionAttrs::ReadWrite => "off",
        TargetSessionAttrs::ReadOnly => "on",
        _ => return Ok(client),
    };
    if client.show("transaction_read_only").await? == required {
        return Ok(client);
    }
    let mismatch = if required == "off" {
        "a read-write session, and the server is read-only"
    } else {
        "a read-only session, and the server is read-write"
    };
    Err(Error::retryable(format!("target_session_attrs requires {mismatch}")))
}
