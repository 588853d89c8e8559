use std::sync::Arc;

use outbox::{CreatedRange, OrderingKey, Token};
use uuid::Uuid;

/// Where the broker stored a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The partition's number.
    pub partition: i32,
    /// The record's offset in its partition. Negative where the broker has acknowledged the record without saying
    /// where it is: it had it already, and the first acknowledgement was lost.
    pub offset: i64,
}

impl Place {
    /// The offset, where the broker has said it.
    pub(crate) fn known_offset(self) -> Option<i64> {
        Some(self.offset).filter(|offset| *offset >= 0)
    }
}

/// What its row is to say of an event that the pump has in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// The event's token.
    pub token: Token,
    /// The row's primary key.
    pub id: Uuid,
    /// The transaction that inserted the row, as in [`outbox::Event::xid`].
    pub xid: Option<u32>,
    /// When the row was made, as in [`outbox::Event::created_at_us`].
    pub created_at_us: Option<i64>,
    /// What became of the event.
    pub what: What,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The log brought it, and the broker has acknowledged it: from INIT the row says PUBLISH. A row that says more
    /// already is left as it is.
    Published {
        /// The topic the record went to.
        topic: Arc<str>,
        /// Where in the topic it is.
        place: Place,
    },
    /// It was sent again on purpose, and the broker has acknowledged it: whatever the row says, it says where the new
    /// record is; INIT and FAILED become PUBLISH, and nothing goes back.
    Resent {
        /// The topic the record went to.
        topic: Arc<str>,
        /// Where in the topic it is.
        place: Place,
    },
    /// Its record was consumed, although no receipt said so: as a [`Receipt`](crate::Receipt) that nobody asked for.
    Completed {
        /// The record's topic.
        topic: Arc<str>,
        /// Where in the topic it is.
        place: Place,
    },
    /// It cannot be sent: the row says FAILED, unless it is COMPLETE.
    Failed {
        /// For the person who reads it on the row.
        reason: String,
        /// Whether it was handed to the broker.
        sent: bool,
        /// The lane that is held back behind it from now on, if one is. An entry that waits there becomes its head.
        head_of: Option<OrderingKey>,
    },
    /// It waits in its lane, last in line if it is not in line already. The row stays as it is.
    Held {
        /// The lane.
        lane: OrderingKey,
        /// The row at its head.
        behind: Uuid,
    },
}

impl RowChange {
    /// Whether the row may say PUBLISH because of it, and when such a row was created.
    pub(crate) fn enters_publish(&self) -> Option<CreatedRange> {
        matches!(self.what, What::Published { .. } | What::Resent { .. })
            .then(|| CreatedRange::of(self.created_at_us))
    }
}
