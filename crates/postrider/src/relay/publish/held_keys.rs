//! Keys that are held back behind a row that could not be published.

use std::collections::{HashMap, VecDeque};

use outbox::{OrderingKey, Token};
use outbox_store::HeldLane;
use uuid::Uuid;

/// The lanes that are held back, and those whose rows are being let go. Memory is per lane: the rows themselves
/// wait in `postrider.held`.
#[derive(Default)]
pub(crate) struct Lanes {
    held: HashMap<OrderingKey, Held>,
    heads: HashMap<Uuid, OrderingKey>,
    /// Rows on their way into line.
    writing: HashMap<Token, OrderingKey>,
    /// Lanes whose rows are to be let go, in turn.
    releases: VecDeque<Release>,
}

/// A lane whose rows may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) lane: OrderingKey,
    /// The row that was in the way and is so no longer.
    pub(crate) head: Option<Uuid>,
}

struct Held {
    /// `None` while its rows are being let go.
    head: Option<Uuid>,
    /// The last head there was, for the rows behind it to name.
    behind: Uuid,
    /// Rows on their way into line.
    writing: usize,
    /// Whether a row was put in line since the line was last looked at.
    grew: bool,
    /// Whether its rows are being let go at this moment.
    goes: bool,
}

impl Held {
    fn behind(head: Uuid) -> Self {
        Held { head: None, behind: head, writing: 0, grew: false, goes: false }
    }
}

impl Lanes {
    /// As they were left. A lane without a head is one whose release was cut short.
    pub(crate) fn load(lanes: Vec<HeldLane>) -> Self {
        let mut loaded = Lanes::default();
        for HeldLane { lane, head, .. } in lanes {
            match head {
                Some(head) => loaded.hold(lane, head),
                None => {
                    loaded.held.insert(lane.clone(), Held::behind(Uuid::nil()));
                    loaded.releases.push_back(Release { lane, head: None });
                }
            }
        }
        loaded
    }

    /// Whether there is none, so that nobody has to be asked about.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// The row that those of the lane wait behind, if they do. While a lane is let go they wait behind the rows
    /// that are already in line.
    pub(crate) fn behind(&self, lane: &OrderingKey) -> Option<Uuid> {
        self.held.get(lane).map(|held| held.behind)
    }

    /// Whether a row out of the line may go: the lane is being let go.
    pub(crate) fn lets_go(&self, lane: &OrderingKey) -> bool {
        self.held.get(lane).is_none_or(|held| held.head.is_none())
    }

    /// From now on the rows of the lane wait behind this one.
    pub(crate) fn hold(&mut self, lane: OrderingKey, head: Uuid) {
        self.heads.insert(head, lane.clone());
        let held = self.held.entry(lane).or_insert_with(|| Held::behind(head));
        if let Some(before) = held.head.replace(head).filter(|before| *before != head) {
            self.heads.remove(&before);
        }
        held.behind = head;
    }

    /// A row is being put in line.
    pub(crate) fn joins(&mut self, lane: &OrderingKey, token: Token) {
        if let Some(held) = self.held.get_mut(lane) {
            held.writing += 1;
            held.grew = true;
            self.writing.insert(token, lane.clone());
        }
    }

    /// A change of a row is durable; it may have been one that joined a line.
    pub(crate) fn written(&mut self, token: Token) {
        if self.writing.is_empty() {
            return;
        }
        let Some(lane) = self.writing.remove(&token) else { return };
        if let Some(held) = self.held.get_mut(&lane) {
            held.writing -= 1;
            if held.writing == 0 && held.head.is_none() && held.grew {
                self.look_again(lane);
            }
        }
    }

    /// The row is no longer in the way: its lane is to be let go. `false` if it was at the head of none.
    pub(crate) fn release(&mut self, head: Uuid) -> bool {
        let Some(lane) = self.heads.remove(&head) else { return false };
        if let Some(held) = self.held.get_mut(&lane) {
            held.head = None;
        }
        self.releases.push_back(Release { lane, head: Some(head) });
        true
    }

    /// The next lane whose rows are to be let go, and are not being let go already.
    pub(crate) fn next_release(&mut self) -> Option<Release> {
        let goes = |release: &Release| self.held.get(&release.lane).is_some_and(|held| held.goes);
        let index = self.releases.iter().position(|release| !goes(release))?;
        let release = self.releases.remove(index)?;
        if let Some(held) = self.held.get_mut(&release.lane) {
            held.goes = true;
            // What is on its way into line may not be found there yet.
            held.grew = held.writing > 0;
        }
        Some(release)
    }

    /// The line was found empty. Unless a row joined it meanwhile, the lane is free.
    pub(crate) fn emptied(&mut self, lane: OrderingKey) {
        let Some(held) = self.held.get_mut(&lane) else { return };
        held.goes = false;
        if held.head.is_some() || held.writing > 0 {
            return;
        }
        if held.grew {
            self.look_again(lane);
        } else {
            self.held.remove(&lane);
        }
    }

    /// One of the rows could not be published either: the rest waits behind it.
    pub(crate) fn stopped(&mut self, lane: &OrderingKey) {
        if let Some(held) = self.held.get_mut(lane) {
            held.goes = false;
        }
    }

    fn look_again(&mut self, lane: OrderingKey) {
        if !self.releases.iter().any(|release| release.lane == lane) {
            self.releases.push_back(Release { lane, head: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn lane(key: &'static str) -> OrderingKey {
        OrderingKey { topic: "orders".to_owned(), key: Bytes::from(key) }
    }

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[test]
    fn a_lane_is_free_once_its_line_is_empty_and_nothing_joined_meanwhile() {
        let mut lanes = Lanes::default();
        lanes.hold(lane("1"), id(1));
        assert_eq!(lanes.behind(&lane("1")), Some(id(1)));
        assert!(!lanes.release(id(2)), "a row that is no head");
        assert!(lanes.release(id(1)));
        let release = lanes.next_release().expect("to be let go");
        assert_eq!(release, Release { lane: lane("1"), head: Some(id(1)) });
        // One joins while the line is being looked at: it is looked at again once that one is durable.
        let token = Token::from_usize(7);
        lanes.joins(&lane("1"), token);
        lanes.emptied(lane("1"));
        assert_eq!(lanes.next_release(), None);
        lanes.written(token);
        assert_eq!(lanes.next_release(), Some(Release { lane: lane("1"), head: None }));
        lanes.emptied(lane("1"));
        assert!(lanes.is_empty());
    }

    /// Its entry is not there yet when the line is looked at, and the line is not empty all the same.
    #[test]
    fn a_row_that_was_on_its_way_into_line_when_the_head_went_keeps_the_lane() {
        let mut lanes = Lanes::default();
        lanes.hold(lane("1"), id(1));
        let token = Token::from_usize(7);
        lanes.joins(&lane("1"), token);
        lanes.release(id(1));
        lanes.next_release();
        lanes.emptied(lane("1"));
        assert!(!lanes.is_empty(), "the row would be forgotten, and later ones go before it");
        lanes.written(token);
        assert_eq!(lanes.next_release(), Some(Release { lane: lane("1"), head: None }));
        lanes.emptied(lane("1"));
        assert!(lanes.is_empty());
    }

    #[test]
    fn a_lane_is_let_go_once_at_a_time_and_others_meanwhile() {
        let mut lanes = Lanes::default();
        for (key, head) in [("1", 1), ("2", 2)] {
            lanes.hold(lane(key), id(head));
            lanes.release(id(head));
        }
        lanes.next_release();
        lanes.joins(&lane("1"), Token::from_usize(7));
        lanes.written(Token::from_usize(7));
        assert_eq!(lanes.next_release().map(|release| release.lane), Some(lane("2")));
        assert_eq!(lanes.next_release(), None);
        lanes.emptied(lane("1"));
        assert_eq!(lanes.next_release().map(|release| release.lane), Some(lane("1")));
    }

    #[test]
    fn a_row_of_the_line_that_cannot_be_published_holds_the_lane_anew() {
        let mut lanes = Lanes::default();
        lanes.hold(lane("1"), id(1));
        lanes.release(id(1));
        lanes.next_release();
        lanes.hold(lane("1"), id(2));
        lanes.stopped(&lane("1"));
        assert_eq!((lanes.behind(&lane("1")), lanes.lets_go(&lane("1"))), (Some(id(2)), false));
        assert!(lanes.release(id(2)));
        assert!(lanes.next_release().is_some());
    }

    #[test]
    fn what_was_left_half_let_go_is_let_go() {
        let found = |key, head| HeldLane { lane: lane(key), head, waiting: 1 };
        let mut lanes = Lanes::load(vec![found("1", Some(id(1))), found("2", None)]);
        assert_eq!(lanes.next_release(), Some(Release { lane: lane("2"), head: None }));
        assert_eq!(lanes.next_release(), None);
        assert_eq!(lanes.len(), 2);
    }
}
