//! Entries for tests; each names its row by a number.

use outbox::{OrderingKey, Token};
use uuid::Uuid;

use super::batch::Entry;
use crate::write_back::receipt::Receipt;
use crate::write_back::row_update::{Place, RowChange, What};

/// The transaction that inserted every row.
pub(super) const XID: u32 = 700;

fn place(id: usize) -> Place {
    Place { partition: 0, offset: id as i64 }
}

pub(super) fn change(id: usize, what: What) -> RowChange {
    RowChange {
        token: Token::from_usize(id),
        id: Uuid::from_u128(id as u128),
        xid: Some(XID),
        created_at_us: Some(id as i64),
        what,
    }
}

pub(super) fn a_published(id: usize) -> RowChange {
    change(id, What::Published { topic: "t".into(), place: place(id) })
}

pub(super) fn a_receipt(id: usize) -> Receipt {
    Receipt {
        id: Uuid::from_u128(id as u128),
        topic: "t".into(),
        partition: 0,
        offset: id as i64,
        by_request: false,
    }
}

pub(super) fn a_failed(id: usize) -> RowChange {
    change(id, What::Failed { reason: "too large".to_owned(), sent: true, head_of: Some(lane()) })
}

pub(super) fn a_held(id: usize) -> RowChange {
    change(id, What::Held { lane: lane(), behind: Uuid::from_u128(0) })
}

fn lane() -> OrderingKey {
    OrderingKey { topic: "t".to_owned(), key: "k".into() }
}

pub(super) fn published(id: usize) -> Entry {
    Entry::Change(a_published(id))
}

pub(super) fn published_to(id: usize, topic: &str) -> Entry {
    Entry::Change(change(id, What::Published { topic: topic.into(), place: place(id) }))
}

pub(super) fn resent(id: usize) -> Entry {
    Entry::Change(change(id, What::Resent { topic: "t".into(), place: place(id) }))
}

pub(super) fn receipt(id: usize) -> Entry {
    Entry::Receipt(a_receipt(id), 0)
}

pub(super) fn failed(id: usize) -> Entry {
    Entry::Change(a_failed(id))
}

pub(super) fn held(id: usize) -> Entry {
    Entry::Change(a_held(id))
}
