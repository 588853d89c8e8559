//! Extracts the channel binding data of a TLS stream from a [`ChannelBinding`].
//!
//! The fields of [`ChannelBinding`] are private to tokio-postgres, which sends the data only to a server, inside
//! its own SCRAM exchange. So a tokio-postgres client runs that exchange in memory, with a dummy password,
//! against a minimal server that reads the data from the client's final message.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use postgres_protocol::authentication::sasl;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio_postgres::config::{Config, SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// Larger than any message of the exchange.
const EXCHANGE_BYTES_MAX: usize = 4096;

/// The gs2-header in front of the binding data (RFC 5802, section 7).
const HEADER: &[u8] = b"p=tls-server-end-point,,";

/// The `tls-server-end-point` data (RFC 5929, section 4); `None` if the stream has none.
pub(crate) async fn tls_server_end_point(binding: ChannelBinding) -> Option<Vec<u8>> {
    let (client_end, server_end) = tokio::io::duplex(EXCHANGE_BYTES_MAX);
    let mut config = Config::new();
    config.user("none").password("none").ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
    let client = config.connect_raw(client_end, BindingProbe(Mutex::new(Some(binding))));
    // The client always ends in an error: the server closes once it has the data.
    let (_, data) = tokio::join!(client, serve(server_end));
    data.ok().flatten()
}

async fn serve(mut stream: DuplexStream) -> io::Result<Option<Vec<u8>>> {
    read_body(&mut stream).await?;
    let mechanism = sasl::SCRAM_SHA_256_PLUS;
    write_authentication(&mut stream, 10, format!("{mechanism}\0\0").as_bytes()).await?;
    stream.read_u8().await?;
    let first = read_body(&mut stream).await?;
    let first = String::from_utf8_lossy(&first);
    let Some(nonce) = first.starts_with(mechanism).then(|| first.split_once(",r=")).flatten() else {
        return Ok(None);
    };
    write_authentication(&mut stream, 11, format!("r={}+,s=c2FsdA==,i=1", nonce.1).as_bytes()).await?;
    stream.read_u8().await?;
    let last = read_body(&mut stream).await?;
    let last = String::from_utf8_lossy(&last);
    let data = last.strip_prefix("c=").and_then(|rest| BASE64_STANDARD.decode(rest.split(',').next()?).ok());
    Ok(data.and_then(|data| data.strip_prefix(HEADER).map(<[u8]>::to_vec)))
}

async fn read_body(stream: &mut DuplexStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await?.saturating_sub(4);
    let mut body = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut body).await?;
    Ok(body)
}

async fn write_authentication(stream: &mut DuplexStream, kind: u32, data: &[u8]) -> io::Result<()> {
    let mut message = vec![b'R'];
    message.extend_from_slice(&(8 + data.len() as u32).to_be_bytes());
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(data);
    stream.write_all(&message).await
}

/// A connector without TLS that reports the channel binding of another stream.
struct BindingProbe(Mutex<Option<ChannelBinding>>);

impl TlsConnect<DuplexStream> for BindingProbe {
    type Stream = BindingProbeStream;
    type Error = io::Error;
    type Future = Ready<io::Result<BindingProbeStream>>;

    fn connect(self, stream: DuplexStream) -> Self::Future {
        ready(Ok(BindingProbeStream { stream, binding: self.0 }))
    }
}

struct BindingProbeStream {
    stream: DuplexStream,
    binding: Mutex<Option<ChannelBinding>>,
}

impl TlsStream for BindingProbeStream {
    fn channel_binding(&self) -> ChannelBinding {
        self.binding
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .unwrap_or_else(ChannelBinding::none)
    }
}

impl AsyncRead for BindingProbeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for BindingProbeStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tls_server_end_point_returns_the_binding_data() {
        let data = vec![0, 1, 2, 44, 61, 255];
        let binding = ChannelBinding::tls_server_end_point(data.clone());
        assert_eq!(tls_server_end_point(binding).await, Some(data));
    }

    #[tokio::test]
    async fn tls_server_end_point_is_none_without_a_binding() {
        assert_eq!(tls_server_end_point(ChannelBinding::none()).await, None);
    }
}
