//! Negotiates TLS on a socket according to `sslmode` and `sslnegotiation`.

use std::any::TypeId;
use std::error::Error as StdError;
use std::io;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::NoTls;
use tokio_postgres::config::{Config, SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};

use crate::protocol::connection::Transport;
use crate::protocol::error::Error;
use crate::protocol::socket::Socket;

/// A transport and its channel binding for SCRAM.
pub(crate) struct Secured {
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) binding: ChannelBinding,
}

/// # Errors
/// Retryable if the connection broke; not retryable if the negotiation failed, for example because the server has
/// no TLS or its certificate does not verify.
pub(crate) async fn secure<T>(
    mut socket: Socket,
    config: &Config,
    tls: &mut T,
    hostname: Option<&str>,
) -> Result<Secured, Error>
where
    T: MakeTlsConnect<Socket> + 'static,
    T::Stream: Send + 'static,
{
    let mode = config.get_ssl_mode();
    let direct = config.get_ssl_negotiation() == SslNegotiation::Direct;
    // tokio-postgres asks the connector through a private method whether it can connect; only `NoTls` cannot.
    let has_tls = TypeId::of::<T>() != TypeId::of::<NoTls>();
    match mode {
        SslMode::Disable => return Ok(plain(socket)),
        SslMode::Prefer if !has_tls => return Ok(plain(socket)),
        SslMode::Prefer if direct => {
            let message =
                "sslmode=prefer cannot be combined with sslnegotiation=direct, which has no fallback";
            return Err(Error::permanent(message).with_remedy(Some("set sslmode=require".to_owned())));
        }
        _ => {}
    }
    if !direct
        && !server_supports_tls(&mut socket).await.map_err(|error| Error::io("requesting TLS", &error))?
    {
        if mode == SslMode::Prefer {
            return Ok(plain(socket));
        }
        return Err(Error::permanent("the server does not support TLS, and sslmode requires it")
            .with_remedy(Some("set ssl = on on the server, or change sslmode".to_owned())));
    }
    let Some(hostname) = hostname else {
        return Err(Error::permanent("TLS needs a host name, and none is configured").with_remedy(Some(
            "set host in addition to hostaddr, or sslmode=disable for a Unix socket".to_owned(),
        )));
    };
    let connector = tls.make_tls_connect(hostname).map_err(|error| tls_error(error.into()))?;
    let stream = connector.connect(socket).await.map_err(|error| tls_error(error.into()))?;
    let binding = stream.channel_binding();
    Ok(Secured { transport: Box::new(stream), binding })
}

fn plain(socket: Socket) -> Secured {
    Secured { transport: Box::new(socket), binding: ChannelBinding::none() }
}

/// Sends SSLRequest (PostgreSQL documentation, "SSL Session Encryption"). Exactly one byte is read: data that
/// follows it unencrypted must not be trusted.
async fn server_supports_tls(socket: &mut Socket) -> io::Result<bool> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    socket.write_all(&request).await?;
    Ok(socket.read_u8().await? == b'S')
}

fn tls_error(error: Box<dyn StdError + Sync + Send>) -> Error {
    let mut is_io_error = false;
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&*error);
    while let Some(error) = cause {
        is_io_error |= error.is::<io::Error>();
        cause = error.source();
    }
    let message = format!("the TLS handshake failed: {error}");
    if is_io_error { Error::retryable(message) } else { Error::permanent(message) }
}
