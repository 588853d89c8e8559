//! What becomes of a row.

use outbox::{Event, OrderingKey, RecordPosition};
use uuid::Uuid;

/// What becomes of one row of the outbox table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowUpdate {
    /// The row's primary key.
    pub id: Uuid,
    /// The transaction that inserted the row, as the WAL names it, where other transactions may not see the row yet.
    pub xid: Option<u32>,
    /// The row's `created_at` in microseconds since 1970-01-01 UTC, where it is known.
    pub created_at_us: Option<i64>,
    /// What happened.
    pub kind: RowUpdateKind,
    /// The event of a row that fails or is held, which is kept in `postrider.held` in case its row is deleted.
    pub event: Option<Box<Event>>,
}

/// What happened to a row or to its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowUpdateKind {
    /// A record published from the WAL was acknowledged. INIT becomes PUBLISH; a row in any other state stays as it
    /// is.
    Published(RecordPosition),
    /// A record that was published again on purpose was acknowledged. The row gets the position of the new record
    /// whatever its state; INIT and FAILED become PUBLISH, COMPLETE stays COMPLETE.
    Resent(RecordPosition),
    /// The record was consumed. INIT and PUBLISH become COMPLETE.
    Consumed {
        /// The position of the record.
        at: RecordPosition,
        /// Whether the record was sent by a replay request, so that FAILED becomes COMPLETE, too.
        by_request: bool,
    },
    /// The row cannot be published and becomes FAILED, unless it is COMPLETE. A row that comes from the WAL
    /// ([`RowUpdate::xid`]) and is PUBLISH or COMPLETE by now stays as it is.
    Failed {
        /// The text for `last_error`.
        reason: String,
        /// Whether the record was handed to the broker, which counts as an attempt.
        sent: bool,
        /// The ordering key that is held from now on with this row as its head, if any. A row already queued there
        /// becomes the head.
        head_of: Option<OrderingKey>,
    },
    /// The row waits because its ordering key is held. Its state does not change.
    Held {
        /// The ordering key in whose queue the row gets the last place, unless it is queued already. `None` adds no
        /// entry.
        key: Option<OrderingKey>,
        /// The row at the head of that queue.
        head: Uuid,
    },
}

impl RowUpdate {
    /// An update of a row that is visible to every transaction.
    pub fn new(id: Uuid, kind: RowUpdateKind) -> RowUpdate {
        RowUpdate { id, xid: None, created_at_us: None, kind, event: None }
    }

    /// Whether it writes FAILED, or queues the row behind another one.
    pub fn is_fail_or_hold(&self) -> bool {
        matches!(self.kind, RowUpdateKind::Failed { .. } | RowUpdateKind::Held { .. })
    }

    /// Whether the broker acknowledged a record of the row.
    pub fn is_sent(&self) -> bool {
        matches!(self.kind, RowUpdateKind::Published(_) | RowUpdateKind::Resent(_))
    }

    /// The update, for a second write of a row that was not visible to the first one. The first write made the row's
    /// entry in `postrider.held`; the entry may have been removed since and must not come back.
    #[must_use]
    pub fn without_held_entry(mut self) -> RowUpdate {
        match &mut self.kind {
            RowUpdateKind::Failed { head_of: key, .. } | RowUpdateKind::Held { key, .. } => *key = None,
            RowUpdateKind::Published(_) | RowUpdateKind::Resent(_) | RowUpdateKind::Consumed { .. } => {}
        }
        self
    }
}

impl RowUpdateKind {
    /// The position of the record that was acknowledged or consumed.
    pub fn position(&self) -> Option<&RecordPosition> {
        match self {
            RowUpdateKind::Published(at) | RowUpdateKind::Resent(at) | RowUpdateKind::Consumed { at, .. } => {
                Some(at)
            }
            RowUpdateKind::Failed { .. } | RowUpdateKind::Held { .. } => None,
        }
    }
}
