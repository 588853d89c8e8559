use std::fmt;
use std::io;
use std::net::SocketAddr;

use tokio::time::timeout;
use tokio_postgres::config::{Config, TargetSessionAttrs};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use crate::protocol::client::ReplicationClient;
use crate::protocol::error::Error;
use crate::protocol::error::ErrorKind;
use crate::protocol::hosts::{HostRoute, HostTarget, targets};
use crate::protocol::socket::Socket;
use crate::protocol::startup::start_up;
use crate::protocol::tls::secure;

/// Opens a replication connection to the database the configuration names.
///
/// Hosts, and the addresses a name resolves to, are tried in order until one lets us in and is what
/// `target_session_attrs` asks for; `load_balance_hosts` is passed over. `connect_timeout` bounds the whole of
/// an attempt at one address, authentication included; without it an attempt at a server that accepts and
/// says nothing lasts for ever. Everything else of the configuration means what it means to tokio-postgres.
///
/// # Errors
/// Of the last host if there is one, otherwise of all of them; then it is definite only if each is.
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
            let place = address.to_string();
            match connect_in_time(&address, &target, config, &mut tls).await {
                Ok(client) => return Ok(client),
                Err(error) => {
                    tracing::debug!("{place} will not do: {error}");
                    errors.push(error.at(&place));
                }
            }
        }
    }
    Err(Error::of_hosts(errors))
}

/// One place to connect to.
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
            let unresolved =
                |why: &dyn fmt::Display| Error::retryable(format!("cannot resolve host {name:?}: {why}"));
            let found: Vec<ServerAddress<'_>> = tokio::net::lookup_host((name.as_str(), *port))
                .await
                .map_err(|error| unresolved(&error))?
                .map(ServerAddress::Tcp)
                .collect();
            if found.is_empty() { Err(unresolved(&"it has no address")) } else { Ok(found) }
        }
    }
}

async fn connect_in_time<T>(
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
            Err(Error::new(
                ErrorKind::Timeout,
                format!("no connection within connect_timeout, {} s", limit.as_secs_f32()),
            ))
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
    let wanted = match config.get_target_session_attrs() {
        TargetSessionAttrs::ReadWrite => "off",
        TargetSessionAttrs::ReadOnly => "on",
        _ => return Ok(client),
    };
    if client.show("transaction_read_only").await? == wanted {
        return Ok(client);
    }
    let what = if wanted == "off" {
        "read-write, and this server is read-only"
    } else {
        "read-only, and this server is not"
    };
    Err(Error::retryable(format!("target_session_attrs asks for {what}")))
}
