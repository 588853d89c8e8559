//! All updates of one row in a batch, as one.

use outbox::RecordPosition;
use uuid::Uuid;

use crate::write_back::row_update::{RowUpdate, RowUpdateKind};

/// Every acknowledgement and receipt of one row, so that one UPDATE writes all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoalescedUpdate {
    pub(crate) id: Uuid,
    /// The position of the newest acknowledged record; without one, or if its offset is unknown, of the newest
    /// consumed record.
    pub(crate) at: RecordPosition,
    pub(crate) published: bool,
    /// How often the row was published again.
    pub(crate) resent: i16,
    pub(crate) consumed: Consumed,
}

/// How far consumption completes the row, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Consumed {
    /// Not consumed.
    Not = 0,
    /// INIT and PUBLISH become COMPLETE.
    Once = 1,
    /// So does FAILED.
    OverridesFailed = 2,
}

impl CoalescedUpdate {
    /// Starts with the first update of a row; `None` for a row that fails or is held.
    pub(crate) fn of(update: RowUpdate) -> Option<CoalescedUpdate> {
        let (published, resent, consumed, at) = match update.kind {
            RowUpdateKind::Published(at) => (true, 0, Consumed::Not, at),
            RowUpdateKind::Resent(at) => (false, 1, Consumed::Not, at),
            RowUpdateKind::Consumed { at, by_request } => (false, 0, Consumed::of(by_request), at),
            RowUpdateKind::Failed { .. } | RowUpdateKind::Held { .. } => return None,
        };
        Some(CoalescedUpdate { id: update.id, at, published, resent, consumed })
    }

    /// Adds a later update of the same row.
    pub(crate) fn add(&mut self, later: CoalescedUpdate) {
        let is_same_record = later.at.known_offset().is_some() && self.at == later.at;
        let was_resent = self.resent > 0;
        let was_sent = self.published || was_resent;
        self.published |= later.published;
        self.resent = self.resent.saturating_add(later.resent);
        if later.resent > 0 && is_same_record && self.consumed == Consumed::Once {
            // The receipt came before the delivery report of the same record. A receipt of an earlier record does
            // not complete the row.
            self.consumed = Consumed::OverridesFailed;
        }
        if later.consumed != Consumed::Not {
            // A row that is published again becomes PUBLISH from any state, FAILED included.
            let consumed = if was_resent { Consumed::OverridesFailed } else { later.consumed };
            self.consumed = self.consumed.max(consumed);
        }
        let is_newer = if later.is_sent() {
            later.at.known_offset().is_some() || was_sent
        } else {
            !was_sent || self.at.known_offset().is_none()
        };
        if is_newer {
            self.at = later.at;
        }
    }

    fn is_sent(&self) -> bool {
        self.published || self.resent > 0
    }
}

impl Consumed {
    fn of(by_request: bool) -> Consumed {
        if by_request { Consumed::OverridesFailed } else { Consumed::Once }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    enum Kind {
        Published,
        Resent,
        Consumed,
        ByRequest,
    }
    use Kind::{ByRequest, Consumed as Receipt, Published, Resent};

    fn coalesced(updates: &[(i64, Kind)]) -> CoalescedUpdate {
        let update = |(offset, kind): &(i64, Kind)| {
            let at = RecordPosition { topic: "t".into(), partition: 0, offset: *offset };
            let kind = match kind {
                Published => RowUpdateKind::Published(at),
                Resent => RowUpdateKind::Resent(at),
                Receipt => RowUpdateKind::Consumed { at, by_request: false },
                ByRequest => RowUpdateKind::Consumed { at, by_request: true },
            };
            CoalescedUpdate::of(RowUpdate::new(Uuid::from_u128(1), kind)).expect("no row fails")
        };
        let mut updates = updates.iter().map(update);
        let mut row = updates.next().expect("there is one");
        updates.for_each(|later| row.add(later));
        row
    }

    #[test]
    fn coalesced_update_merges_delivery_and_receipt() {
        for order in [[(5, Published), (5, Receipt)], [(5, Receipt), (5, Published)]] {
            let row = coalesced(&order);
            assert!(row.published);
            assert_eq!((row.resent, row.consumed, row.at.offset), (0, Consumed::Once, 5));
        }
    }

    #[test]
    fn coalesced_update_completes_failed_rows_only_for_records_sent_since() {
        for (updates, consumed) in [
            (&[(5, Receipt)][..], Consumed::Once),
            (&[(5, ByRequest)], Consumed::OverridesFailed),
            (&[(9, Resent), (9, Receipt)], Consumed::OverridesFailed),
            (&[(9, Receipt), (9, Resent)], Consumed::OverridesFailed),
            (&[(5, Receipt), (9, Resent)], Consumed::Once),
            (&[(5, ByRequest), (9, Resent)], Consumed::OverridesFailed),
        ] {
            assert_eq!(coalesced(updates).consumed, consumed);
        }
    }

    #[test]
    fn coalesced_update_prefers_the_position_of_the_newest_acknowledged_record() {
        assert_eq!(coalesced(&[(9, Resent), (5, Receipt)]).at.offset, 9);
        assert_eq!(coalesced(&[(5, Receipt), (9, Resent)]).at.offset, 9);
        assert_eq!(coalesced(&[(5, Receipt), (9, Receipt)]).at.offset, 9);
    }

    #[test]
    fn coalesced_update_fills_an_unknown_offset_from_a_receipt_only() {
        let offset = |updates: &[(i64, Kind)]| coalesced(updates).at.known_offset();
        assert_eq!(offset(&[(-1, Published)]), None);
        assert_eq!(offset(&[(-1, Published), (5, Receipt)]), Some(5));
        assert_eq!(offset(&[(5, Receipt), (-1, Published)]), Some(5));
        assert_eq!(offset(&[(5, Published), (-1, Resent)]), None);
        assert_eq!(coalesced(&[(-1, Receipt), (-1, Resent)]).consumed, Consumed::Once);
    }
}
