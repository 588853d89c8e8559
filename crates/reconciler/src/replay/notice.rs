use outbox::Lsn;
use uuid::Uuid;

/// A replay request that was read from the WAL: a row inserted into `postrider.replay`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayNotice {
    /// The id of the request.
    pub id: Uuid,
    /// The transaction that inserted it.
    pub xid: u32,
    /// Where the commit record of that transaction begins. Everything committed before is settled before the request
    /// is executed.
    pub commit_lsn: Lsn,
}

/// Requests that did not fit into the queue. They are read from table `postrider.replay` instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CoalescedNotices {
    /// The position of the last of them.
    pub(super) commit_lsn: Lsn,
    /// The oldest of their transactions, in the circular order of transaction ids.
    pub(super) first_xid: u32,
    /// The newest of their transactions.
    pub(super) last_xid: u32,
}

impl From<ReplayNotice> for CoalescedNotices {
    fn from(ReplayNotice { xid, commit_lsn, .. }: ReplayNotice) -> Self {
        CoalescedNotices { commit_lsn, first_xid: xid, last_xid: xid }
    }
}

impl CoalescedNotices {
    /// Both, as one.
    #[must_use]
    pub(super) fn merge(self, other: CoalescedNotices) -> Self {
        CoalescedNotices {
            commit_lsn: self.commit_lsn.max(other.commit_lsn),
            first_xid: if precedes(other.first_xid, self.first_xid) {
                other.first_xid
            } else {
                self.first_xid
            },
            last_xid: if precedes(self.last_xid, other.last_xid) { other.last_xid } else { self.last_xid },
        }
    }
}

/// As `TransactionIdPrecedes` of PostgreSQL: transaction ids are compared modulo 2³².
fn precedes(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) > u32::MAX / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_keeps_the_last_position_and_orders_transaction_ids_across_wraparound() {
        let notice = |xid, lsn| -> CoalescedNotices {
            ReplayNotice { id: Uuid::nil(), xid, commit_lsn: Lsn::from_u64(lsn) }.into()
        };
        let merged = notice(5, 30).merge(notice(u32::MAX - 1, 10)).merge(notice(7, 20));
        assert_eq!(
            merged,
            CoalescedNotices { commit_lsn: Lsn::from_u64(30), first_xid: u32::MAX - 1, last_xid: 7 }
        );
    }
}
