use bytes::{Buf, Bytes};
use outbox::Lsn;

use crate::byte_reader::ByteReader;
use crate::decode_error::DecodeError;
use crate::protocol::framing::Message;

/// Type byte, start, end and the server's clock, in front of an XLogData's contents.
const XLOG_DATA_HEADER_BYTES: usize = 1 + 8 + 8 + 8;

/// One message of the replication stream (PostgreSQL documentation, "Streaming Replication Protocol",
/// START_REPLICATION). The server's clock in it is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// One pgoutput message, for [`Decoder::decode`](crate::Decoder::decode).
    XLogData {
        /// The position the message belongs to; zero for one that belongs to none, such as a relation.
        start: Lsn,
        /// pgoutput sends the same as `start`.
        end: Lsn,
        /// The message, a slice of what was read.
        data: Bytes,
    },
    /// The server has nothing else to say.
    Keepalive {
        /// How far the server has read the log for this stream: everything before it that is published has
        /// been sent.
        end: Lsn,
        /// The server wants a status update at once, or it will take us for dead.
        reply_requested: bool,
    },
}

impl Frame {
    /// Reads the body of a CopyData message.
    ///
    /// # Errors
    /// Bytes that are neither, with their position.
    #[inline]
    pub fn parse(message: Message) -> Result<Self, DecodeError> {
        let Message { body: mut data, position, .. } = message;
        let mut reader = ByteReader::new(&data, position);
        match reader.u8("a replication message")? {
            b'w' => {
                let start = reader.lsn("an XLogData's start")?;
                let end = reader.lsn("an XLogData's end")?;
                reader.i64("an XLogData's clock")?;
                data.advance(XLOG_DATA_HEADER_BYTES);
                Ok(Frame::XLogData { start, end, data })
            }
            b'k' => {
                let end = reader.lsn("a keepalive's end")?;
                reader.i64("a keepalive's clock")?;
                let reply_requested = reader.u8("a keepalive's reply flag")? != 0;
                reader.end("a keepalive")?;
                Ok(Frame::Keepalive { end, reply_requested })
            }
            other => Err(reader.error_at(0, format!("unknown replication message {:?}", char::from(other)))),
        }
    }
}
