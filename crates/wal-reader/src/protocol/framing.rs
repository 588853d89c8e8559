//! Splits the server's byte stream into messages, without any I/O.

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::decode_error::DecodeError;

/// Size of a read buffer. Large enough for about a hundred rows per system call, small enough that a retained
/// slice does not pin much memory.
const CHUNK_BYTES: usize = 64 * 1024;

/// With less free space than this a new buffer is started: small reads would cost a system call each.
const ROOM_BYTES_MIN: usize = CHUNK_BYTES / 4;

/// The type byte and the length field of a message.
const HEADER_BYTES: usize = 5;

/// The length field includes itself, and the server's messages are limited by `MaxAllocSize`, 1 GiB - 1.
const LENGTH_MAX: usize = 0x3FFF_FFFF + 4;

/// One message of the server, without its header (PostgreSQL documentation, "Message Formats").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendMessage {
    /// The type byte.
    pub tag: u8,
    /// The bytes after the length field, a slice of the read buffer.
    pub body: Bytes,
    /// Position of the body's first byte, counted from the start of the connection.
    pub position: u64,
}

/// Splits a byte stream into [`BackendMessage`]s, independent of how it was split into reads.
///
/// The buffer grows with the bytes received, never by the announced length alone, so memory stays within twice
/// the largest message received plus 64 KiB. A slice of a small message pins at most 128 KiB; a message larger
/// than 64 KiB has a buffer of its own.
#[derive(Debug, Default)]
pub struct Framing {
    buf: BytesMut,
    consumed: u64,
}

impl Framing {
    /// An empty buffer, at the start of the connection.
    pub fn new() -> Self {
        Framing::default()
    }

    /// The next complete message, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// An invalid length field, with its position. The error is permanent: every later call returns it too.
    #[inline]
    pub fn next_message(&mut self) -> Result<Option<BackendMessage>, DecodeError> {
        let Some(total) = self.announced()? else { return Ok(None) };
        if self.buf.len() < total {
            return Ok(None);
        }
        let mut body = self.buf.split_to(total).freeze();
        if total > CHUNK_BYTES {
            self.start_new_buffer();
        }
        let tag = body[0];
        body.advance(HEADER_BYTES);
        let position = self.consumed + HEADER_BYTES as u64;
        self.consumed += total as u64;
        Ok(Some(BackendMessage { tag, body, position }))
    }

    /// Free space to read into; every byte written to it counts as received.
    pub fn room(&mut self) -> Limit<&mut BytesMut> {
        let received = self.buf.len();
        // `next_message` reports a malformed length; here it must not enlarge the buffer.
        let announced = self.announced().ok().flatten().unwrap_or(0);
        if announced > CHUNK_BYTES && announced > received {
            if self.buf.capacity() == received {
                self.move_to(announced.min(received + received.max(CHUNK_BYTES)));
            }
            // The read ends where the message ends, so that the next message starts in a buffer of normal size.
            let limit = (self.buf.capacity() - received).min(announced - received);
            return (&mut self.buf).limit(limit);
        }
        if self.buf.capacity() - received < ROOM_BYTES_MIN && !self.buf.try_reclaim(CHUNK_BYTES / 2) {
            self.move_to(received + CHUNK_BYTES);
        }
        let limit = self.buf.capacity() - received;
        (&mut self.buf).limit(limit)
    }

    /// Announced length of the first message, header included; `None` until its header has arrived.
    #[inline]
    fn announced(&self) -> Result<Option<usize>, DecodeError> {
        let Some(&[_, a, b, c, d]) = self.buf.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes([a, b, c, d]);
        match usize::try_from(length) {
            Ok(length) if (4..=LENGTH_MAX).contains(&length) => Ok(Some(length + 1)),
            _ => Err(DecodeError::new(
                self.consumed + 1,
                format!("a message announces {length} bytes, outside 4 to {LENGTH_MAX}"),
            )),
        }
    }

    fn move_to(&mut self, capacity_bytes: usize) {
        let mut buf = BytesMut::with_capacity(capacity_bytes);
        buf.extend_from_slice(&self.buf);
        self.buf = buf;
    }

    #[cold]
    fn start_new_buffer(&mut self) {
        self.move_to(self.buf.len().max(CHUNK_BYTES));
    }
}
