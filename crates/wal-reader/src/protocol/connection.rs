//! A connection that speaks the message protocol, before and between replication streams.

use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use postgres_protocol::message::backend::{
    COMMAND_COMPLETE_TAG, DATA_ROW_TAG, ERROR_RESPONSE_TAG, NOTICE_RESPONSE_TAG, NOTIFICATION_RESPONSE_TAG,
    PARAMETER_STATUS_TAG, READY_FOR_QUERY_TAG, ROW_DESCRIPTION_TAG,
};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::byte_reader::ByteReader;
use crate::protocol::error::Error;
use crate::protocol::framing::{Framing, Message};
use crate::protocol::server_error::{ConnectionPhase, ServerError, SessionIdentity};

/// What bytes travel over: a socket, or TLS around it.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// A row of a simple query: text, or NULL.
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

    /// The next message that is an answer.
    pub(crate) async fn receive(&mut self, doing: &str) -> Result<Message, Error> {
        std::future::poll_fn(|cx| self.poll_receive(cx, doing)).await
    }

    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>, doing: &str) -> Poll<Result<Message, Error>> {
        loop {
            while let Some(message) = self.framing.next_message()? {
                if let Some(answer) = self.digest(message)? {
                    return Poll::Ready(Ok(answer));
                }
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(Err(Error::closed(doing))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(Error::io(doing, &error))),
            }
        }
    }

    /// Reads once. Nothing is lost if it is not polled again.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = self.framing.room();
        let read = pin!(self.transport.read_buf(&mut room));
        read.poll(cx)
    }

    /// Takes out what the server may say at any time (PostgreSQL documentation, "Asynchronous Operations").
    #[inline]
    pub(crate) fn digest(&mut self, message: Message) -> Result<Option<Message>, Error> {
        match message.tag {
            NOTICE_RESPONSE_TAG | PARAMETER_STATUS_TAG | NOTIFICATION_RESPONSE_TAG | ERROR_RESPONSE_TAG => {
                self.digest_aside(&message)?;
                Ok(None)
            }
            _ => Ok(Some(message)),
        }
    }

    #[cold]
    fn digest_aside(&mut self, message: &Message) -> Result<(), Error> {
        match message.tag {
            NOTIFICATION_RESPONSE_TAG => Ok(()),
            PARAMETER_STATUS_TAG => {
                let mut reader = ByteReader::new(&message.body, message.position);
                let name = reader.text_lossy("a parameter's name")?;
                let value = reader.text_lossy("a parameter's value")?;
                reader.end("a parameter")?;
                self.parameters.insert(name, value);
                Ok(())
            }
            tag => {
                let said = ServerError::parse(&message.body, message.position)?;
                if tag == ERROR_RESPONSE_TAG || said.says_publication_skipped() {
                    return Err(said.judge(self.phase, &self.identity));
                }
                tracing::info!(severity = said.severity, "the server says: {said}");
                Ok(())
            }
        }
    }

    /// Runs one command of the simple query protocol; the connection stays usable if the server refuses it.
    pub(crate) async fn query(&mut self, command: &str) -> Result<Vec<TextRow>, Error> {
        self.send_query(command).await?;
        let doing = "waiting for the answer to a command";
        let mut rows = Vec::new();
        let mut refusal = None;
        loop {
            match self.receive(doing).await {
                Ok(message) => match message.tag {
                    DATA_ROW_TAG => rows.push(text_row(&message)?),
                    ROW_DESCRIPTION_TAG | COMMAND_COMPLETE_TAG => {}
                    READY_FOR_QUERY_TAG => return refusal.map_or(Ok(rows), Err),
                    tag => return Err(Error::unexpected(tag, doing)),
                },
                // The server's own error is followed by ReadyForQuery, unless it was its last word.
                Err(error) => match refusal {
                    None if error.sqlstate().is_some() => refusal = Some(error),
                    None => return Err(error),
                    Some(first) => return Err(first),
                },
            }
        }
    }

    pub(crate) async fn send_query(&mut self, command: &str) -> Result<(), Error> {
        let mut out = BytesMut::new();
        frontend::query(command, &mut out)
            .map_err(|error| Error::permanent(format!("a name cannot be part of a command: {error}")))?;
        self.send(&out).await
    }

    /// A polite farewell; the server does as well without it.
    pub(crate) async fn terminate(&mut self) {
        let mut out = BytesMut::new();
        frontend::terminate(&mut out);
        if self.send(&out).await.is_ok() {
            let _ = self.transport.shutdown().await;
        }
    }
}

fn text_row(message: &Message) -> Result<TextRow, Error> {
    let mut reader = ByteReader::new(&message.body, message.position);
    let count = reader.count_16("a row's column count")?;
    let mut row = Vec::with_capacity(count.min(reader.remaining() / 4));
    for _ in 0..count {
        let length = reader.i32("a column's length")?;
        row.push(match usize::try_from(length) {
            Ok(length) => {
                let range = reader.take(length, "a column's value")?;
                Some(String::from_utf8_lossy(reader.bytes(range)).into_owned())
            }
            Err(_) => None,
        });
    }
    reader.end("a row")?;
    Ok(row)
}
