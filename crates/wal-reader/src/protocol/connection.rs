//! The connection: sends and receives protocol messages, and handles those the server sends at any time.

use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use outbox::shorten;
use postgres_protocol::message::backend::{
    COMMAND_COMPLETE_TAG, DATA_ROW_TAG, ERROR_RESPONSE_TAG, NOTICE_RESPONSE_TAG, NOTIFICATION_RESPONSE_TAG,
    PARAMETER_STATUS_TAG, READY_FOR_QUERY_TAG, ROW_DESCRIPTION_TAG,
};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::byte_reader::ByteReader;
use crate::protocol::error::Error;
use crate::protocol::framing::{BackendMessage, Framing};
use crate::protocol::server_error::{ConnectionPhase, ServerError, SessionIdentity};

/// The byte stream: a socket, or TLS over it.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// A row of a simple query: text values, `None` for NULL.
pub(crate) type TextRow = Vec<Option<String>>;

pub(crate) struct ReplicationConnection {
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) framing: Framing,
    pub(crate) parameters: HashMap<String, String>,
    pub(crate) phase: ConnectionPhase,
    pub(crate) identity: SessionIdentity,
}

impl ReplicationConnection {
    pub(crate) fn new(transport: Box<dyn Transport>, identity: SessionIdentity) -> Self {
        let (framing, parameters) = (Framing::new(), HashMap::new());
        ReplicationConnection { transport, framing, parameters, phase: ConnectionPhase::Connecting, identity }
    }

    pub(crate) async fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        let sent = async {
            self.transport.write_all(message).await?;
            self.transport.flush().await
        };
        sent.await.map_err(|error| Error::io("sending", &error))
    }

    /// The next message that is not asynchronous (see [`handle_async`](Self::handle_async)).
    pub(crate) async fn receive(&mut self, activity: &str) -> Result<BackendMessage, Error> {
        std::future::poll_fn(|cx| self.poll_receive(cx, activity)).await
    }

    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        activity: &str,
    ) -> Poll<Result<BackendMessage, Error>> {
        loop {
            while let Some(message) = self.framing.next_message()? {
                if let Some(answer) = self.handle_async(message)? {
                    return Poll::Ready(Ok(answer));
                }
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(Err(Error::closed(activity))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(Error::io(activity, &error))),
            }
        }
    }

    /// Reads once from the transport. Cancel-safe.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = self.framing.room();
        let read = pin!(self.transport.read_buf(&mut room));
        read.poll(cx)
    }

    /// Handles notices, parameter changes, notifications and errors, which the server may send at any time
    /// (PostgreSQL documentation, "Asynchronous Operations"), and returns every other message.
    #[inline]
    pub(crate) fn handle_async(&mut self, message: BackendMessage) -> Result<Option<BackendMessage>, Error> {
        match message.tag {
            NOTICE_RESPONSE_TAG | PARAMETER_STATUS_TAG | NOTIFICATION_RESPONSE_TAG | ERROR_RESPONSE_TAG => {
                self.handle_async_message(&message)?;
                Ok(None)
            }
            _ => Ok(Some(message)),
        }
    }

    #[cold]
    fn handle_async_message(&mut self, message: &BackendMessage) -> Result<(), Error> {
        match message.tag {
            NOTIFICATION_RESPONSE_TAG => Ok(()),
            PARAMETER_STATUS_TAG => {
                let mut reader = ByteReader::new(&message.body, message.position);
                let name = reader.text_lossy("a parameter name")?;
                let value = reader.text_lossy("a parameter value")?;
                reader.end("a ParameterStatus")?;
                self.parameters.insert(name, value);
                Ok(())
            }
            tag => {
                let report = ServerError::parse(&message.body, message.position)?;
                if tag == ERROR_RESPONSE_TAG || report.is_publication_skipped() {
                    return Err(report.into_error(self.phase, &self.identity));
                }
                let notice = report.to_string();
                tracing::info!(severity = report.severity, notice = %shorten(&notice), "PostgreSQL sent a notice");
                Ok(())
            }
        }
    }

    /// Runs one command of the simple query protocol. After a server error the connection remains usable.
    pub(crate) async fn query(&mut self, command: &str) -> Result<Vec<TextRow>, Error> {
        self.send_query(command).await?;
        let activity = "waiting for the answer to a command";
        let mut rows = Vec::new();
        let mut server_error = None;
        loop {
            match self.receive(activity).await {
                Ok(message) => match message.tag {
                    DATA_ROW_TAG => rows.push(text_row(&message)?),
                    ROW_DESCRIPTION_TAG | COMMAND_COMPLETE_TAG => {}
                    READY_FOR_QUERY_TAG => return server_error.map_or(Ok(rows), Err),
                    tag => return Err(Error::unexpected(tag, activity)),
                },
                // ReadyForQuery follows the error, unless the error was FATAL and ended the connection.
                Err(error) => match server_error {
                    None if error.sqlstate().is_some() => server_error = Some(error),
                    None => return Err(error),
                    Some(first) => return Err(first),
                },
            }
        }
    }

    pub(crate) async fn send_query(&mut self, command: &str) -> Result<(), Error> {
        let mut out = BytesMut::new();
        frontend::query(command, &mut out).map_err(|error| {
            Error::permanent(format!(
                "the command contains a zero byte, which the protocol cannot carry: {error}"
            ))
        })?;
        self.send(&out).await
    }

    /// Sends Terminate and closes the transport. Errors are ignored: the server also ends the session when the
    /// connection closes.
    pub(crate) async fn terminate(&mut self) {
        let mut out = BytesMut::new();
        frontend::terminate(&mut out);
        if self.send(&out).await.is_ok() {
            let _ = self.transport.shutdown().await;
        }
    }
}

fn text_row(message: &BackendMessage) -> Result<TextRow, Error> {
    let mut reader = ByteReader::new(&message.body, message.position);
    let count = reader.count_16("a DataRow column count")?;
    let mut row = Vec::with_capacity(count.min(reader.remaining() / 4));
    for _ in 0..count {
        let length = reader.i32("a column length")?;
        row.push(match usize::try_from(length) {
            Ok(length) => {
                let range = reader.take(length, "a column value")?;
                Some(String::from_utf8_lossy(reader.bytes(range)).into_owned())
            }
            Err(_) => None,
        });
    }
    reader.end("a DataRow")?;
    Ok(row)
}
