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
use crate::protocol::framing::BackendMessage;
use crate::protocol::status::EncodedStatus;
use crate::protocol::status::StandbyStatus;

const READING: &str = "waiting for the next change";
const WRITING: &str = "sending a status update";

/// A running replication stream.
///
/// Reading and writing are independent: status updates are written while reading is paused, and frames are read
/// while a write blocks. Dropping the stream closes the connection without CopyDone and Terminate; no confirmed
/// position is lost by that.
pub struct ReplicationStream {
    connection: ReplicationConnection,
    status_queue: StatusQueue,
}

/// Whether [`ReplicationStream::next`] reads from the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Read frames.
    Open,
    /// Read nothing: TCP flow control then makes the server wait.
    Closed,
}

/// Status updates to write: at most one partly written and one queued.
#[derive(Default)]
struct StatusQueue {
    in_progress: Option<(EncodedStatus, usize)>,
    queued: Option<StandbyStatus>,
    unflushed: bool,
}

impl ReplicationStream {
    pub(crate) fn new(connection: ReplicationConnection) -> Self {
        ReplicationStream { connection, status_queue: StatusQueue::default() }
    }

    /// Waits for the next frame and writes queued status updates.
    ///
    /// With [`Intake::Closed`] nothing is read and no frame is returned: the call writes the queued updates and
    /// stays pending, so that the server does not time out while the rest of the pipeline is blocked.
    /// Cancel-safe: no frame and no part of one is lost.
    ///
    /// # Errors
    /// Retryable if the connection broke or the server ended the stream; not retryable for permanent server errors
    /// and for protocol violations. After an error the stream cannot be used.
    pub async fn next(&mut self, intake: Intake) -> Result<Frame, Error> {
        poll_fn(|cx| self.poll_next(cx, intake)).await
    }

    /// A frame that is already in the read buffer, without waiting and without a system call.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    #[inline]
    pub fn buffered(&mut self) -> Result<Option<Frame>, Error> {
        while let Some(message) = self.connection.framing.next_message()? {
            if message.tag == COPY_DATA_TAG {
                return Ok(Some(Frame::parse(message)?));
            }
            self.handle_other(message)?;
        }
        Ok(None)
    }

    /// Queues a status update, written by [`next`](Self::next) or [`flush`](Self::flush). It replaces an update
    /// that is queued and not partly written; a reply that update requested is still requested.
    pub fn queue_status(&mut self, status: &StandbyStatus) {
        let reply_requested = self.status_queue.queued.is_some_and(|replaced| replaced.reply_requested);
        self.status_queue.queued =
            Some(StandbyStatus { reply_requested: status.reply_requested || reply_requested, ..*status });
    }

    /// Writes every queued status update. Cancel-safe: the rest is written by a later call, and no byte twice.
    ///
    /// # Errors
    /// Retryable: the connection broke.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_status_queue(cx)).await
    }

    /// The last reported value of a server parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.connection.parameters.get(name).map(String::as_str)
    }

    /// Ends the stream and the session, so that the slot is free when this returns: writes the queued updates and
    /// CopyDone, then discards frames until the server has ended the stream too.
    ///
    /// A server in the middle of a large transaction sends all of it first; limit the wait with a timeout.
    ///
    /// # Errors
    /// As [`next`](Self::next); also if the server ended the stream first.
    pub async fn finish(mut self) -> Result<(), Error> {
        self.flush().await?;
        let mut out = BytesMut::new();
        frontend::copy_done(&mut out);
        self.connection.send(&out).await?;
        let activity = "waiting for the end of the stream";
        loop {
            match self.connection.receive(activity).await?.tag {
                COPY_DATA_TAG | COPY_DONE_TAG | COMMAND_COMPLETE_TAG => {}
                READY_FOR_QUERY_TAG => break,
                tag => return Err(Error::unexpected(tag, activity)),
            }
        }
        self.connection.terminate().await;
        Ok(())
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, intake: Intake) -> Poll<Result<Frame, Error>> {
        // A blocked write has registered its own wake-up and does not block reading.
        if let Poll::Ready(Err(error)) = self.poll_status_queue(cx) {
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

    fn poll_status_queue(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let transport = &mut self.connection.transport;
        self.status_queue.poll(cx, transport).map_err(|error| Error::io(WRITING, &error))
    }

    /// Handles every message other than CopyData.
    #[cold]
    fn handle_other(&mut self, message: BackendMessage) -> Result<(), Error> {
        match self.connection.handle_async(message)? {
            None => Ok(()),
            // A server that shuts down sends CommandComplete without a preceding CopyDone.
            Some(BackendMessage {
                tag: COPY_DONE_TAG | COMMAND_COMPLETE_TAG | READY_FOR_QUERY_TAG, ..
            }) => Err(Error::new(
                ErrorKind::StreamEnded,
                "the server ended the replication stream, as it does when it shuts down",
            )),
            Some(BackendMessage { tag, .. }) => Err(Error::unexpected(tag, READING)),
        }
    }
}

impl StatusQueue {
    fn poll<T>(&mut self, cx: &mut Context<'_>, transport: &mut T) -> Poll<io::Result<()>>
    where
        T: tokio::io::AsyncWrite + Unpin,
    {
        loop {
            if self.in_progress.is_none() {
                // From the first write attempt on an update cannot be replaced, even if no byte was accepted: TLS may
                // already have encrypted it and would send it in place of a newer one.
                self.in_progress = self.queued.take().map(|status| (status.encode(), 0));
            }
            let Some((encoded, written)) = &mut self.in_progress else { break };
            match ready!(Pin::new(&mut *transport).poll_write(cx, &encoded[*written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => *written += count,
            }
            self.unflushed = true;
            if *written == encoded.len() {
                self.in_progress = None;
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
        f.debug_struct("ReplicationStream")
            .field("queued_status", &self.status_queue.queued)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
