//! What became of a record.

use outbox::Token;

use crate::publish::error::SinkError;
use crate::record::rejection::Rejection;

/// Where the broker stored a record, within the topic that [`Sink::publish`](crate::Sink::publish) returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOffset {
    /// The partition's number.
    pub partition: i32,
    /// The record's offset; negative if it is unknown, see [`outbox::RecordPosition::offset`].
    pub offset: i64,
}

/// What became of a record handed to the producer.
#[derive(Clone, Debug)]
pub struct DeliveryReport {
    /// The event's token.
    pub token: Token,
    /// Where the broker stored the record, or why it did not.
    pub outcome: Result<PartitionOffset, DeliveryError>,
}

/// Why a record was not delivered.
#[derive(Clone, Debug)]
pub enum DeliveryError {
    /// The broker rejected this record or its topic; another attempt has the same result.
    Rejected(Rejection),
    /// The producer failed. The record may or may not be stored. It has to be published by a new producer, and so has
    /// every other record of this one without a delivery report.
    ProducerFailed(SinkError),
}
