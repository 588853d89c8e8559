use bytes::{Buf, Bytes};
use outbox::Lsn;

use crate::byte_reader::ByteReader;
use crate::decode_error::DecodeError;
use crate::protocol::framing::BackendMessage;

/// The XLogData header: type byte, start, end and the server's clock.
const XLOG_DATA_HEADER_BYTES: usize = 1 + 8 + 8 + 8;

/// One message of the replication stream (PostgreSQL documentation, "Streaming Replication Protocol",
/// START_REPLICATION). The server's clock is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// One pgoutput message, for [`Decoder::decode`](crate::Decoder::decode).
    XLogData {
        /// LSN of the change; zero for a message without one, such as a Relation.
        start: Lsn,
        /// With pgoutput the same as `start`.
        end: Lsn,
        /// The pgoutput message, a slice of the read buffer.
        data: Bytes,
    },
    /// Sent while there are no changes, and when the server wants a status update.
    Keepalive {
        /// The server has decoded the WAL up to here: every published change before it has been sent.
        end: Lsn,
        /// The server expects a status update at once; without one it disconnects after `wal_sender_timeout`.
        reply_requested: bool,
    },
}

impl Frame {
    /// Parses the body of a CopyData message.
    ///
    /// # Errors
    /// A malformed message, with the position in the connection's byte stream.
    #[inline]
    pub fn parse(message: BackendMessage) -> Result<Self, DecodeError> {
        let BackendMessage { body: mut data, position, .. } = message;
        let mut reader = ByteReader::new(&data, position);
        match reader.u8("a replication message")? {
            b'w' => {
                let start = reader.lsn("an XLogData start")?;
                let end = reader.lsn("an XLogData end")?;
                reader.i64("an XLogData clock")?;
                data.advance(XLOG_DATA_HEADER_BYTES);
                Ok(Frame::XLogData { start, end, data })
            }
            b'k' => {
                let end = reader.lsn("a keepalive end")?;
                reader.i64("a keepalive clock")?;
                let reply_requested = reader.u8("a keepalive reply flag")? != 0;
                reader.end("a keepalive")?;
                Ok(Frame::Keepalive { end, reply_requested })
            }
            other => Err(reader.error_at(0, format!("unknown replication message {:?}", char::from(other)))),
        }
    }
}
