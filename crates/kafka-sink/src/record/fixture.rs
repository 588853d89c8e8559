//! An event for unit tests.

use bytes::Bytes;
use outbox::Event;
use uuid::Uuid;

/// The event of an order, without a topic or a key of its own.
pub(crate) fn event() -> Event {
    Event {
        id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001),
        aggregate_type: Some(Bytes::from("order")),
        aggregate_id: Some(Bytes::from("42")),
        event_type: Some(Bytes::from("order_placed")),
        payload: Some(Bytes::from("{}")),
        headers: None,
        topic: None,
        partition_key: None,
        created_at_us: Some(1_700_000_000_123_456),
        xid: None,
        status: None,
        others: Vec::new(),
    }
}
