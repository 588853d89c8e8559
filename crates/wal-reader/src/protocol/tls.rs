//! From a socket to something to talk over, as `sslmode` and `sslnegotiation` say.

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

/// A transport, and what a SCRAM exchange over it may be bound to.
pub(crate) struct Secured {
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) binding: ChannelBinding,
}

/// # Errors
/// Definite where the two sides cannot agree (no TLS there, a certificate that does not verify), transient
/// where the connection broke on the way.
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
    // tokio-postgres asks the connector whether it can connect at all, by a method that is private to it; the
    // only connector that cannot is this one.
    let able = TypeId::of::<T>() != TypeId::of::<NoTls>();
    match mode {
        SslMode::Disable => return Ok(plain(socket)),
        SslMode::Prefer if !able => return Ok(plain(socket)),
        SslMode::Prefer if direct => {
            let what = "sslmode=prefer does not go with sslnegotiation=direct, which leaves no way back";
            return Err(Error::permanent(what).with_remedy(Some("set sslmode=require".to_owned())));
        }
        _ => {}
    }
    if !direct && !server_agrees(&mut socket).await.map_err(|error| Error::io("asking for TLS", &error))? {
        if mode == SslMode::Prefer {
            return Ok(plain(socket));
        }
        return Err(Error::permanent("the server does not offer TLS and sslmode requires it")
            .with_remedy(Some("set ssl = on at the server, or another sslmode".to_owned())));
    }
    let Some(hostname) = hostname else {
        return Err(Error::permanent("TLS needs a host name and there is none")
            .with_remedy(Some("set host beside hostaddr, or sslmode=disable for a Unix socket".to_owned())));
    };
    let connector = tls.make_tls_connect(hostname).map_err(|error| tls_error(error.into()))?;
    let stream = connector.connect(socket).await.map_err(|error| tls_error(error.into()))?;
    let binding = stream.channel_binding();
    Ok(Secured { transport: Box::new(stream), binding })
}

fn plain(socket: Socket) -> Secured {
    Secured { transport: Box::new(socket), binding: ChannelBinding::none() }
}

/// Asks for TLS (PostgreSQL documentation, "SSL Session Encryption"). One byte is read and no more: whatever
/// followed it in the clear could not be trusted.
async fn server_agrees(socket: &mut Socket) -> io::Result<bool> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    socket.write_all(&request).await?;
    Ok(socket.read_u8().await? == b'S')
}

fn tls_error(error: Box<dyn StdError + Sync + Send>) -> Error {
    let mut broken = false;
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&*error);
    while let Some(error) = cause {
        broken |= error.is::<io::Error>();
        cause = error.source();
    }
    let message = format!("the TLS handshake failed: {error}");
    if broken { Error::retryable(message) } else { Error::permanent(message) }
}
