//! Row updates for tests; each is of the row with that number.

use outbox::{OrderingKey, Receipt, RecordPosition, Token};
use outbox_store::{RowUpdate, RowUpdateKind};
use uuid::Uuid;

use crate::write_back::entry::WriteBackEntry;

/// The transaction that inserted every row.
pub(super) const XID: u32 = 700;

pub(super) fn position(offset: i64) -> RecordPosition {
    RecordPosition { topic: "t".into(), partition: 0, offset }
}

pub(super) fn update(id: usize, kind: RowUpdateKind) -> RowUpdate {
    RowUpdate {
        xid: Some(XID),
        created_at_us: Some(id as i64),
        ..RowUpdate::new(Uuid::from_u128(id as u128), kind)
    }
}

pub(super) fn published_update(id: usize) -> RowUpdate {
    update(id, RowUpdateKind::Published(position(id as i64)))
}

pub(super) fn resent_update(id: usize, offset: i64) -> RowUpdate {
    update(id, RowUpdateKind::Resent(position(offset)))
}

pub(super) fn failed_update(id: usize) -> RowUpdate {
    update(id, RowUpdateKind::Failed { reason: "too large".to_owned(), sent: true, head_of: Some(key()) })
}

pub(super) fn held_update(id: usize) -> RowUpdate {
    update(id, RowUpdateKind::Held { key: Some(key()), head: Uuid::from_u128(0) })
}

pub(super) fn receipt_of(id: usize) -> Receipt {
    Receipt { id: Uuid::from_u128(id as u128), at: position(id as i64), by_request: false }
}

fn key() -> OrderingKey {
    OrderingKey { topic: "t".to_owned(), key: "k".into() }
}

fn submitted(id: usize, update: RowUpdate) -> WriteBackEntry {
    WriteBackEntry::submitted(Token::from_usize(id), update)
}

pub(super) fn published(id: usize) -> WriteBackEntry {
    submitted(id, published_update(id))
}

pub(super) fn published_to(id: usize, topic: &str) -> WriteBackEntry {
    let at = RecordPosition { topic: topic.into(), ..position(id as i64) };
    submitted(id, update(id, RowUpdateKind::Published(at)))
}

pub(super) fn resent(id: usize) -> WriteBackEntry {
    submitted(id, resent_update(id, id as i64))
}

pub(super) fn receipt(id: usize) -> WriteBackEntry {
    receipt_in(id, 0)
}

pub(super) fn receipt_in(id: usize, chunk: u64) -> WriteBackEntry {
    WriteBackEntry::receipt(receipt_of(id), chunk)
}

pub(super) fn failed(id: usize) -> WriteBackEntry {
    submitted(id, failed_update(id))
}

pub(super) fn held(id: usize) -> WriteBackEntry {
    submitted(id, held_update(id))
}
