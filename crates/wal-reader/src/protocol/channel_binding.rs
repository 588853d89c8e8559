//! Reading a [`ChannelBinding`], which only tokio-postgres can.
//!
//! A TLS stream tells what it may be bound to through a type whose content is private to tokio-postgres, which
//! hands it to no one but the server, inside its own SCRAM exchange. So that exchange is held, in memory and
//! with a password that is none, against a server of a few lines that looks at what it is sent.

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

/// Room for every message of the exchange.
const EXCHANGE_BYTES_MAX: usize = 4096;

/// What the client puts in front of the binding data (RFC 5802, section 7, gs2-header).
const HEADER: &[u8] = b"p=tls-server-end-point,,";

/// The `tls-server-end-point` data (RFC 5929, section 4), if the stream has any.
pub(crate) async fn tls_server_end_point(binding: ChannelBinding) -> Option<Vec<u8>> {
    let (ours, theirs) = tokio::io::duplex(EXCHANGE_BYTES_MAX);
    let mut config = Config::new();
    config.user("nobody").password("none").ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
    let client = config.connect_raw(ours, BindingProbe(Mutex::new(Some(binding))));
    // The client's end is an error in any case: the exchange breaks off once we have seen what we came for.
    let (_, seen) = tokio::join!(client, serve(theirs));
    seen.ok().flatten()
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

/// A connector that wraps nothing and says what the real stream said.
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
    async fn what_the_stream_is_bound_to_is_read_back() {
        let data = vec![0, 1, 2, 44, 61, 255];
        let binding = ChannelBinding::tls_server_end_point(data.clone());
        assert_eq!(tls_server_end_point(binding).await, Some(data));
    }

    #[tokio::test]
    async fn a_stream_that_is_bound_to_nothing_has_no_data() {
        assert_eq!(tls_server_end_point(ChannelBinding::none()).await, None);
    }
}
