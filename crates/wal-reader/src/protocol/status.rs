use std::time::{SystemTime, UNIX_EPOCH};

use outbox::Lsn;

/// Microseconds from 1970-01-01 to 2000-01-01, the epoch of PostgreSQL timestamps.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// A standby status update: the positions the receiver reports (PostgreSQL documentation, "Streaming Replication
/// Protocol", Standby status update).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StandbyStatus {
    /// Received up to here.
    pub written: Lsn,
    /// Durably processed up to here. This advances the slot's `confirmed_flush_lsn`: the server may remove the
    /// WAL before it, and never sends those changes again. Zero leaves the slot unchanged.
    pub flushed: Lsn,
    /// Only displayed, in `pg_stat_replication.replay_lsn`.
    pub applied: Lsn,
    /// Requests a keepalive as reply.
    pub reply_requested: bool,
}

/// A complete CopyData message with a status update.
pub(crate) type EncodedStatus = [u8; 39];

impl StandbyStatus {
    pub(crate) fn encode(&self) -> EncodedStatus {
        let mut out = [0; 39];
        out[0] = b'd';
        out[1..5].copy_from_slice(&38_u32.to_be_bytes());
        out[5] = b'r';
        out[6..14].copy_from_slice(&self.written.to_u64().to_be_bytes());
        out[14..22].copy_from_slice(&self.flushed.to_u64().to_be_bytes());
        out[22..30].copy_from_slice(&self.applied.to_u64().to_be_bytes());
        out[30..38].copy_from_slice(&now_us().to_be_bytes());
        out[38] = u8::from(self.reply_requested);
        out
    }
}

/// Now, in microseconds since 2000-01-01. A clock before 1970 counts as 1970: the server only displays the time.
fn now_us() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX).saturating_sub(POSTGRES_EPOCH_US)
}
