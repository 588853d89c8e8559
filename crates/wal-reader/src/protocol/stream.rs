use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use postgres_protocol::message::backend::{
    COMMAND_COMPLETE_TAG, COPY_DATA_TAG, COPY_DONE_TAG, READY_FOR_QUERY_TAG,
};
use postgres_protocol::message::frontend;

use crate::protocol::connection::ReplicationConnection;
use crate::protocol::error::Error;
use crate::protocol::error::ErrorKind;
use crate::protocol::frame::Frame;
use crate::protocol::framing::Message;
use crate::protocol::status::EncodedStatus;
use crate::protocol::status::StandbyStatus;

const READING: &str = "waiting for the next change";
const WRITING: &str = "sending feedback";

/// A running replication stream.
///
/// Reading and writing are independent: feedback goes out while reading stands still, and the other way
/// round. Dropping the stream ends it too, only without the farewell; nothing is lost by that.
pub struct ReplicationStream {
    connection: ReplicationConnection,
    feedback: StatusQueue,
}

/// Whether more may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Read on.
    Open,
    /// Leave what comes in the socket, where it makes the server wait.
    Closed,
}

/// Status updates on their way out: at most one begun and one to come.
#[derive(Default)]
struct StatusQueue {
    begun: Option<(EncodedStatus, usize)>,
    queued: Option<StandbyStatus>,
    unflushed: bool,
}

impl ReplicationStream {
    pub(crate) fn new(connection: ReplicationConnection) -> Self {
        ReplicationStream { connection, feedback: StatusQueue::default() }
    }

    /// Waits for the next frame; meanwhile queued status updates are written.
    ///
    /// With [`Intake::Closed`] nothing is read and the call never returns a frame: it writes what is queued
    /// and then stays pending, so that the server hears from us however long the rest of the pipeline is
    /// stuck. Cancel-safe: no frame and no part of one is lost.
    ///
    /// # Errors
    /// Transient where the connection broke or the server ended the stream; definite for what the server says
    /// will stay so, and for bytes that do not follow the protocol. After an error the stream is over.
    pub async fn next(&mut self, intake: Intake) -> Result<Frame, Error> {
        poll_fn(|cx| self.poll_next(cx, intake)).await
    }

    /// A frame already received, without waiting and without a system call.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    #[inline]
    pub fn buffered(&mut self) -> Result<Option<Frame>, Error> {
        while let Some(message) = self.connection.framing.next_message()? {
            if message.tag == COPY_DATA_TAG {
                return Ok(Some(Frame::parse(message)?));
            }
            self.digest(message)?;
        }
        Ok(None)
    }

    /// Queues a status update, to be written by [`next`](Self::next) or [`flush`](Self::flush). One that is
    /// queued already and not begun is replaced; its request for a reply stands.
    pub fn queue_status(&mut self, status: &StandbyStatus) {
        let asked = self.feedback.queued.is_some_and(|older| older.reply_requested);
        self.feedback.queued =
            Some(StandbyStatus { reply_requested: status.reply_requested || asked, ..*status });
    }

    /// Writes every queued status update. Cancel-safe: what is left is written later, and nothing twice.
    ///
    /// # Errors
    /// Transient: the connection broke.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_feedback(cx)).await
    }

    /// A parameter as the server last reported it.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.connection.parameters.get(name).map(String::as_str)
    }

    /// Ends the stream and the session in order, so that the slot is free when this returns: writes what is
    /// queued, then CopyDone, and throws away what still comes until the server is done too.
    ///
    /// A server in the middle of a large transaction sends all of it first; bound the wait by a timeout.
    ///
    /// # Errors
    /// As [`next`](Self::next); also if the server ended the stream first.
    pub async fn finish(mut self) -> Result<(), Error> {
        self.flush().await?;
        let mut out = BytesMut::new();
        frontend::copy_done(&mut out);
        self.connection.send(&out).await?;
        let doing = "waiting for the end of the stream";
        loop {
            match self.connection.receive(doing).await?.tag {
                COPY_DATA_TAG | COPY_DONE_TAG | COMMAND_COMPLETE_TAG => {}
                READY_FOR_QUERY_TAG => break,
                tag => return Err(Error::unexpected(tag, doing)),
            }
        }
        self.connection.terminate().await;
        Ok(())
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, intake: Intake) -> Poll<Result<Frame, Error>> {
        // A write that cannot go on registers its own wake-up and does not hold up reading.
        if let Poll::Ready(Err(error)) = self.poll_feedback(cx) {
            return Poll::Ready(Err(error));
        }
        if intake == Intake::Closed {
            return Poll::Pending;
        }
        loop {
            if let Some(frame) = self.buffered()? {
                return Poll::Ready(Ok(frame));
            }
            match ready!(self.connection.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(Err(Error::closed(READING))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(Error::io(READING, &error))),
            }
        }
    }

    fn poll_feedback(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let transport = &mut self.connection.transport;
        self.feedback.poll(cx, transport).map_err(|error| Error::io(WRITING, &error))
    }

    /// Whatever is no CopyData.
    #[cold]
    fn digest(&mut self, message: Message) -> Result<(), Error> {
        match self.connection.digest(message)? {
            None => Ok(()),
            // A server that shuts down says CommandComplete, without the CopyDone of an orderly end.
            Some(Message { tag: COPY_DONE_TAG | COMMAND_COMPLETE_TAG | READY_FOR_QUERY_TAG, .. }) => {
                Err(Error::new(
                    ErrorKind::StreamEnded,
                    "the server ended the replication stream, as it does to shut down",
                ))
            }
            Some(Message { tag, .. }) => Err(Error::unexpected(tag, READING)),
        }
    }
}

impl StatusQueue {
    fn poll<T>(&mut self, cx: &mut Context<'_>, transport: &mut T) -> Poll<io::Result<()>>
    where
        T: tokio::io::AsyncWrite + Unpin,
    {
        loop {
            if self.begun.is_none() {
                // An update that was offered to the transport once is begun even if nothing of it was taken:
                // TLS may have encrypted it already and would send that in place of a newer one.
                self.begun = self.queued.take().map(|status| (status.encode(), 0));
            }
            let Some((encoded, written)) = &mut self.begun else { break };
            match ready!(Pin::new(&mut *transport).poll_write(cx, &encoded[*written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => *written += count,
            }
            self.unflushed = true;
            if *written == encoded.len() {
                self.begun = None;
            }
        }
        if self.unflushed {
            ready!(Pin::new(transport).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for ReplicationStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicationStream").field("queued", &self.feedback.queued).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
