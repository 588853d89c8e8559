//! A row update, and where its completion is reported.

use outbox::{CreatedRange, Receipt, Token};
use outbox_store::{RowUpdate, RowUpdateKind};
use uuid::Uuid;

use crate::write_back::open_chunks::ChunkNumber;

/// The id, partition, offset and small numbers of a row, with the length before each element of an array in
/// PostgreSQL's binary format.
const ROW_BYTES: usize = 16 + 4 + 8 + 1 + 2 + 2 + 4 * 7;

/// The largest size of an acknowledgement or receipt: a topic name has at most 249 bytes.
pub(super) const ROW_BYTES_MAX: usize = ROW_BYTES + 249;

/// A row update on its way to the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WriteBackEntry {
    pub(super) update: RowUpdate,
    pub(super) report_to: ReportTo,
}

/// Where the completion of an update is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReportTo {
    /// To the relay, by the event's token.
    Relay(Token),
    /// To the sender of a chunk of receipts.
    Chunk(ChunkNumber),
}

impl WriteBackEntry {
    pub(super) fn submitted(token: Token, update: RowUpdate) -> WriteBackEntry {
        WriteBackEntry { update, report_to: ReportTo::Relay(token) }
    }

    pub(super) fn receipt(receipt: Receipt, chunk: ChunkNumber) -> WriteBackEntry {
        let Receipt { id, at, by_request } = receipt;
        let update = RowUpdate::new(id, RowUpdateKind::Consumed { at, by_request });
        WriteBackEntry { update, report_to: ReportTo::Chunk(chunk) }
    }

    pub(super) fn id(&self) -> Uuid {
        self.update.id
    }

    pub(super) fn is_receipt(&self) -> bool {
        matches!(self.report_to, ReportTo::Chunk(_))
    }

    pub(super) fn size_bytes(&self) -> usize {
        let text_bytes = match &self.update.kind {
            RowUpdateKind::Published(at) | RowUpdateKind::Resent(at) | RowUpdateKind::Consumed { at, .. } => {
                at.topic.len()
            }
            RowUpdateKind::Failed { reason, head_of: key, .. } => {
                reason.len() + key.as_ref().map_or(0, |key| key.topic.len() + key.key.len())
            }
            RowUpdateKind::Held { key, .. } => key.as_ref().map_or(0, |key| key.topic.len() + key.key.len()),
        };
        let event_bytes = self.update.event.as_ref().map_or(0, |event| event.size_bytes());
        ROW_BYTES + text_bytes + event_bytes
    }

    /// When the row was created, if the update may make it PUBLISH.
    pub(super) fn published_created(&self) -> Option<CreatedRange> {
        self.update.is_sent().then(|| CreatedRange::of(self.update.created_at_us))
    }

    /// The entry, after a write that did not see its row.
    pub(super) fn for_rewrite(self) -> WriteBackEntry {
        WriteBackEntry { update: self.update.without_held_entry(), ..self }
    }
}
