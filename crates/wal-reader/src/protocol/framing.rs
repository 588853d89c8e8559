//! Cutting the server's byte stream into messages, without any I/O.

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::decode_error::DecodeError;

/// How much room a read is offered. Large enough that a busy stream costs a system call per hundred rows or
/// so, small enough that a slice kept from it does not pin much.
const CHUNK_BYTES: usize = 64 * 1024;

/// Below this much room a new buffer is begun: reading on into a sliver would cost a system call per sliver.
const ROOM_BYTES_MIN: usize = CHUNK_BYTES / 4;

/// A message's type byte and its length field.
const HEADER_BYTES: usize = 5;

/// The length field counts itself, and the server builds no message above `MaxAllocSize`, 1 GiB - 1.
const LENGTH_MAX: usize = 0x3FFF_FFFF + 4;

/// One message of the server (PostgreSQL documentation, "Message Formats"), its type and length taken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The type byte.
    pub tag: u8,
    /// What follows the length field: a slice of the chunk it was read in.
    pub body: Bytes,
    /// ColumnPosition of the body's first byte in the stream, counted from the start of the connection.
    pub position: u64,
}

/// Splits a byte stream into [`Message`]s, however it was cut up on its way.
///
/// The buffer grows with the bytes that really arrived, never by a length that was only announced, so memory
/// stays within twice the largest message received plus a chunk of 64 KiB. A slice kept from a small message
/// pins at most 128 KiB; a message larger than a chunk has a buffer of its own.
#[derive(Debug, Default)]
pub struct Framing {
    buf: BytesMut,
    consumed: u64,
}

impl Framing {
    /// Nothing received yet.
    pub fn new() -> Self {
        Framing::default()
    }

    /// The next whole message, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// A length field that no message can have, with its position. The error is final: it comes again.
    #[inline]
    pub fn next_message(&mut self) -> Result<Option<Message>, DecodeError> {
        let Some(total) = self.announced()? else { return Ok(None) };
        if self.buf.len() < total {
            return Ok(None);
        }
        let mut body = self.buf.split_to(total).freeze();
        if total > CHUNK_BYTES {
            self.leave_large_buffer();
        }
        let tag = body[0];
        body.advance(HEADER_BYTES);
        let position = self.consumed + HEADER_BYTES as u64;
        self.consumed += total as u64;
        Ok(Some(Message { tag, body, position }))
    }

    /// Room to read into; whatever is put there counts as received.
    pub fn room(&mut self) -> Limit<&mut BytesMut> {
        let received = self.buf.len();
        // A malformed length is reported by `next_message`; until then it is no reason for a larger buffer.
        let announced = self.announced().ok().flatten().unwrap_or(0);
        if announced > CHUNK_BYTES && announced > received {
            if self.buf.capacity() == received {
                self.move_to(announced.min(received + received.max(CHUNK_BYTES)));
            }
            // The read stops where the message does, so that the next one starts in a chunk again.
            let limit = (self.buf.capacity() - received).min(announced - received);
            return (&mut self.buf).limit(limit);
        }
        if self.buf.capacity() - received < ROOM_BYTES_MIN && !self.buf.try_reclaim(CHUNK_BYTES / 2) {
            self.move_to(received + CHUNK_BYTES);
        }
        let limit = self.buf.capacity() - received;
        (&mut self.buf).limit(limit)
    }

    /// How long the first message is to be, header included, once its header is there.
    #[inline]
    fn announced(&self) -> Result<Option<usize>, DecodeError> {
        let Some(&[_, a, b, c, d]) = self.buf.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes([a, b, c, d]);
        match usize::try_from(length) {
            Ok(length) if (4..=LENGTH_MAX).contains(&length) => Ok(Some(length + 1)),
            _ => Err(DecodeError::new(
                self.consumed + 1,
                format!("a message of the server announces {length} bytes, not 4 to {LENGTH_MAX}"),
            )),
        }
    }

    fn move_to(&mut self, capacity_bytes: usize) {
        let mut fresh = BytesMut::with_capacity(capacity_bytes);
        fresh.extend_from_slice(&self.buf);
        self.buf = fresh;
    }

    #[cold]
    fn leave_large_buffer(&mut self) {
        self.move_to(self.buf.len().max(CHUNK_BYTES));
    }
}
