use outbox::Lsn;
use uuid::Uuid;

/// What the log has told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// A request.
    Request(Told),
    /// Requests that were too many to be told of one by one: they are looked for in the table.
    Missed(Missed),
}

/// A request that the log has told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The request.
    pub id: Uuid,
    /// The message's transaction.
    pub xid: Option<u32>,
    /// Where the message stands: what the log brought before is settled before the request begins.
    pub lsn: Lsn,
}

/// What is known of requests that were too many to be told of one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Where the last of the messages stands.
    pub lsn: Lsn,
    /// The first and the last of the transactions, as their numbers go round.
    pub xids: Option<(u32, u32)>,
}

impl Missed {
    /// One request that was missed.
    pub fn of(told: &Told) -> Self {
        Missed { lsn: told.lsn, xids: told.xid.map(|xid| (xid, xid)) }
    }

    /// These and those.
    #[must_use]
    pub fn and(self, other: Missed) -> Self {
        let is_before = |a: u32, b: u32| a.wrapping_sub(b) > u32::MAX / 2;
        let xids = match (self.xids, other.xids) {
            (Some((first, last)), Some((other_first, other_last))) => Some((
                if is_before(other_first, first) { other_first } else { first },
                if is_before(last, other_last) { other_last } else { last },
            )),
            (known, None) | (None, known) => known,
        };
        Missed { lsn: self.lsn.max(other.lsn), xids }
    }
}
