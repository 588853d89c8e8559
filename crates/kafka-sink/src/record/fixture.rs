//! What several unit tests start from.

use bytes::Bytes;
use outbox::Event;
use uuid::Uuid;

/// An order's event, with nothing that needs a template.
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
