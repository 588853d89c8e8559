use bytes::Bytes;
use outbox::OrderingKey;
use uuid::Uuid;

/// A row that is not sent, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// The row's primary key.
    pub id: Uuid,
    /// The transaction that inserted the row, as the log names it, if it may not be visible yet.
    pub xid: Option<u32>,
    /// Why.
    pub why: Why,
    /// Whether it was written before, only that its row could not be seen: it has had its place in its lane since then,
    /// or has left it, and gets none again.
    pub in_line: bool,
}

/// Why a row is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It cannot be: the row says FAILED. One that the log has just brought ([`Aside::xid`]) and that says PUBLISH or
    /// COMPLETE by now is left as it is.
    Failed {
        /// For the person who reads it on the row.
        reason: String,
        /// Whether it was handed to the broker.
        sent: bool,
        /// The lane that is held back behind it from now on, if one is.
        head_of: Option<OrderingKey>,
    },
    /// It waits in its lane, which is held back behind another row.
    Held {
        /// The lane.
        lane: OrderingKey,
        /// The row at its head.
        behind: Uuid,
    },
}

/// A batch of rows set aside, in the form in which it is written. Lanes keep the order in which it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asides {
    /// In the order of their ids, as a batch of any other changes locks them.
    pub(crate) rows: Vec<AsideRow>,
    /// The transactions that inserted the rows, each once.
    pub(crate) xids: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AsideRow {
    pub(crate) id: Uuid,
    pub(crate) failed: bool,
    /// Whether the log has just brought it. Such a row says INIT, and whatever else it says, it has learnt since: from
    /// a statement that was carried out, say, although its connection was lost.
    pub(crate) live: bool,
    pub(crate) sent: bool,
    pub(crate) error: String,
    /// In which it is to have a place.
    pub(crate) lane: Option<(String, Bytes)>,
    /// Its number among those that were given.
    pub(crate) number: i32,
}

impl Asides {
    /// Puts a batch in order. Of an id that is given twice only the later counts: to write one after the other takes
    /// two batches.
    pub fn new(asides: impl IntoIterator<Item = Aside>) -> Self {
        let mut xids = Vec::new();
        let mut rows = Vec::new();
        for (aside, number) in asides.into_iter().zip(0..) {
            xids.extend(aside.xid);
            rows.push(AsideRow::of(aside, number));
        }
        rows.reverse();
        rows.sort_by_key(|row: &AsideRow| row.id);
        rows.dedup_by_key(|row| row.id);
        xids.sort_unstable();
        xids.dedup();
        Asides { rows, xids }
    }

    /// How many rows are to be written.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl AsideRow {
    fn of(aside: Aside, number: i32) -> Self {
        let (id, live) = (aside.id, aside.xid.is_some());
        let lane = |lane: OrderingKey| (!aside.in_line).then(|| (storable(lane.topic), lane.key));
        match aside.why {
            Why::Failed { reason, sent, head_of } => AsideRow {
                id,
                failed: true,
                live,
                sent,
                error: storable(reason),
                lane: head_of.and_then(lane),
                number,
            },
            Why::Held { lane: of, behind } => AsideRow {
                id,
                failed: false,
                live,
                sent: false,
                error: format!(
                    "held behind row {behind} of the same key, which could not be sent: it follows once that \
                     row is sent (postrider replay --id {behind}) or skipped (postrider replay --skip {behind})"
                ),
                lane: lane(of),
                number,
            },
        }
    }
}

/// A text of PostgreSQL has no character zero.
fn storable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(id: u128, reason: &str) -> Aside {
        let why = Why::Failed { reason: reason.to_owned(), sent: true, head_of: None };
        Aside { id: Uuid::from_u128(id), xid: Some(7), why, in_line: false }
    }

    #[test]
    fn rows_are_in_the_order_of_their_ids_and_know_that_in_which_they_were_given() {
        let asides = Asides::new([failed(3, "a"), failed(1, "b"), failed(2, "c")]);
        let rows: Vec<_> = asides.rows.iter().map(|row| (row.id.as_u128(), row.number)).collect();
        assert_eq!(rows, [(1, 1), (2, 2), (3, 0)]);
        assert_eq!(asides.xids, [7]);
    }

    #[test]
    fn of_an_id_given_twice_the_later_counts() {
        let asides = Asides::new([failed(1, "a"), failed(1, "b")]);
        assert_eq!(asides.rows.iter().map(|row| &*row.error).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_reason_that_postgresql_could_not_store_is_made_one_that_it_can() {
        assert_eq!(Asides::new([failed(1, "a\0b")]).rows[0].error, "a\u{fffd}b");
    }
}
