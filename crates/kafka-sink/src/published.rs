use std::sync::Arc;

use outbox::Token;
use uuid::Uuid;

/// Where the broker stored a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The partition's number.
    pub partition: i32,
    /// The record's offset in its partition.
    pub offset: i64,
}

/// An event the broker has acknowledged, as its row is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The event's token.
    pub token: Token,
    /// The row's primary key.
    pub id: Uuid,
    /// The transaction that inserted the row, as in [`outbox::Event::xid`].
    pub xid: Option<u32>,
    /// The topic the record went to.
    pub topic: Arc<str>,
    /// Where in the topic it is.
    pub place: Place,
}
