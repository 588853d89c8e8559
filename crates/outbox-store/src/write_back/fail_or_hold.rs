//! Rows that fail or are held, in the form in which they are written.

use bytes::Bytes;
use outbox::{Event, OrderingKey};
use uuid::Uuid;

use crate::write_back::row_update::{RowUpdate, RowUpdateKind};

/// A row that becomes FAILED or waits behind another row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailOrHold {
    pub(crate) id: Uuid,
    pub(crate) failed: bool,
    /// Whether the record was handed to the broker.
    pub(crate) sent: bool,
    pub(crate) last_error: String,
    /// The topic and key in whose queue the row gets an entry.
    pub(crate) queue: Option<(String, Bytes)>,
    /// The row's position in the batch as it was submitted.
    pub(crate) number: i32,
    /// The transaction of a row just read from the WAL, which other transactions may not see yet. The row was INIT: any
    /// other state was written since, for example by a statement that was executed although its connection was lost.
    pub(crate) xid: Option<u32>,
    pub(crate) event: Option<Box<Event>>,
}

impl FailOrHold {
    /// `None` if the row neither fails nor is held.
    pub(crate) fn of(update: RowUpdate, number: i32) -> Option<FailOrHold> {
        let RowUpdate { id, xid, event, .. } = update;
        let (failed, sent, last_error, key) = match update.kind {
            RowUpdateKind::Failed { reason, sent, head_of } => (true, sent, storable(reason), head_of),
            RowUpdateKind::Held { key, head } => (false, false, held_behind(head), key),
            RowUpdateKind::Published(_) | RowUpdateKind::Resent(_) | RowUpdateKind::Consumed { .. } => {
                return None;
            }
        };
        let queue = key.map(|OrderingKey { topic, key }| (storable(topic), key));
        Some(FailOrHold { id, failed, sent, last_error, queue, number, xid, event })
    }
}

fn held_behind(head: Uuid) -> String {
    format!(
        "held behind row {head} of the same key, which could not be sent: it follows once that row is sent \
         (postrider replay --id {head}) or skipped (postrider replay --skip {head})"
    )
}

/// Replaces NUL, which PostgreSQL's type text cannot store.
fn storable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fail_or_hold_replaces_nul_in_the_reason() {
        let kind = RowUpdateKind::Failed { reason: "a\0b".to_owned(), sent: true, head_of: None };
        let row = FailOrHold::of(RowUpdate::new(Uuid::from_u128(1), kind), 0).expect("the row fails");
        assert_eq!(row.last_error, "a\u{fffd}b");
    }

    #[test]
    fn fail_or_hold_has_no_queue_without_a_held_entry() {
        let key = OrderingKey { topic: "t".to_owned(), key: "k".into() };
        let failed = RowUpdateKind::Failed { reason: "r".to_owned(), sent: true, head_of: Some(key.clone()) };
        let held = RowUpdateKind::Held { key: Some(key), head: Uuid::from_u128(2) };
        for kind in [failed, held] {
            let update = RowUpdate::new(Uuid::from_u128(1), kind);
            let queued = FailOrHold::of(update.clone(), 0).expect("it fails or is held");
            assert_eq!(queued.queue, Some(("t".to_owned(), "k".into())));
            let rewritten = FailOrHold::of(update.without_held_entry(), 0).expect("it fails or is held");
            assert_eq!(rewritten, FailOrHold { queue: None, ..queued });
        }
    }
}
