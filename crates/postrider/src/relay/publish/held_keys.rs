//! The keys that are held behind a failed row (`failure.policy = "hold"`), and those being drained.

use std::collections::{HashMap, VecDeque};

use outbox::{OrderingKey, Token};
use outbox_store::HeldKey;
use uuid::Uuid;

/// Held keys and the order in which they are drained. Memory is per key: the rows wait in `postrider.held`.
#[derive(Default)]
pub(crate) struct HeldKeys {
    by_key: HashMap<OrderingKey, KeyState>,
    /// The failed row of each held key.
    by_head: HashMap<Uuid, OrderingKey>,
    /// Rows whose insert into `postrider.held` is not durable yet.
    joining: HashMap<Token, OrderingKey>,
    /// Keys that wait to be drained.
    drains: VecDeque<Drain>,
}

/// A key whose waiting rows can be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drain {
    pub(crate) key: OrderingKey,
    /// The row that held the key and no longer does.
    pub(crate) released_head: Option<Uuid>,
}

struct KeyState {
    /// `None` while the key is being drained.
    head: Option<Uuid>,
    /// The last failed row, which rows that join name in their `last_error`.
    behind: Uuid,
    /// Rows whose insert into `postrider.held` is not durable yet.
    joining: usize,
    /// Whether a row joined since the waiting rows were last read.
    has_new_rows: bool,
    is_draining: bool,
}

impl KeyState {
    fn behind(head: Uuid) -> Self {
        KeyState { head: None, behind: head, joining: 0, has_new_rows: false, is_draining: false }
    }
}

impl HeldKeys {
    /// From `postrider.held`. A key without a failed row is one whose drain was interrupted.
    pub(crate) fn load(keys: Vec<HeldKey>) -> Self {
        let mut loaded = HeldKeys::default();
        for HeldKey { key, head, .. } in keys {
            match head {
                Some(id) => loaded.hold(key, id),
                None => {
                    loaded.by_key.insert(key.clone(), KeyState::behind(Uuid::nil()));
                    loaded.drains.push_back(Drain { key, released_head: None });
                }
            }
        }
        loaded
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The failed row that new rows of the key wait behind. While a key is drained, they wait behind the rows that
    /// are in `postrider.held` already.
    pub(crate) fn behind(&self, key: &OrderingKey) -> Option<Uuid> {
        self.by_key.get(key).map(|state| state.behind)
    }

    /// Whether a row of `postrider.held` may be published: its key is being drained.
    pub(crate) fn is_draining(&self, key: &OrderingKey) -> bool {
        self.by_key.get(key).is_none_or(|state| state.head.is_none())
    }

    /// From now on the rows of the key wait behind this one.
    pub(crate) fn hold(&mut self, key: OrderingKey, head: Uuid) {
        self.by_head.insert(head, key.clone());
        let state = self.by_key.entry(key).or_insert_with(|| KeyState::behind(head));
        if let Some(previous) = state.head.replace(head).filter(|previous| *previous != head) {
            self.by_head.remove(&previous);
        }
        state.behind = head;
    }

    /// A row is being inserted into `postrider.held`.
    pub(crate) fn join(&mut self, key: &OrderingKey, token: Token) {
        if let Some(state) = self.by_key.get_mut(key) {
            state.joining += 1;
            state.has_new_rows = true;
            self.joining.insert(token, key.clone());
        }
    }

    /// A row update is durable, possibly that of a row that joined.
    pub(crate) fn written(&mut self, token: Token) {
        if self.joining.is_empty() {
            return;
        }
        let Some(key) = self.joining.remove(&token) else { return };
        if let Some(state) = self.by_key.get_mut(&key) {
            state.joining -= 1;
            if state.joining == 0 && state.head.is_none() && state.has_new_rows {
                self.drain_again(key);
            }
        }
    }

    /// The row no longer holds its key, which is drained next. `false` if the row holds none.
    pub(crate) fn release(&mut self, head: Uuid) -> bool {
        let Some(key) = self.by_head.remove(&head) else { return false };
        if let Some(state) = self.by_key.get_mut(&key) {
            state.head = None;
        }
        self.drains.push_back(Drain { key, released_head: Some(head) });
        true
    }

    /// The next key to drain that is not being drained already.
    pub(crate) fn next_drain(&mut self) -> Option<Drain> {
        let is_draining = |drain: &Drain| self.by_key.get(&drain.key).is_some_and(|state| state.is_draining);
        let index = self.drains.iter().position(|drain| !is_draining(drain))?;
        let drain = self.drains.remove(index)?;
        if let Some(state) = self.by_key.get_mut(&drain.key) {
            state.is_draining = true;
            // A row that is joining may not be visible when the waiting rows are read.
            state.has_new_rows = state.joining > 0;
        }
        Some(drain)
    }

    /// No row of the key waits any more. Unless one joined since, the key is no longer held.
    pub(crate) fn drained(&mut self, key: OrderingKey) {
        let Some(state) = self.by_key.get_mut(&key) else { return };
        state.is_draining = false;
        if state.head.is_some() || state.joining > 0 {
            return;
        }
        if state.has_new_rows {
            self.drain_again(key);
        } else {
            self.by_key.remove(&key);
        }
    }

    /// A waiting row failed as well: the rest of the key waits behind it.
    pub(crate) fn drain_blocked(&mut self, key: &OrderingKey) {
        if let Some(state) = self.by_key.get_mut(key) {
            state.is_draining = false;
        }
    }

    fn drain_again(&mut self, key: OrderingKey) {
        if !self.drains.iter().any(|drain| drain.key == key) {
            self.drains.push_back(Drain { key, released_head: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn key(key: &'static str) -> OrderingKey {
        OrderingKey { topic: "orders".to_owned(), key: Bytes::from(key) }
    }

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn drain_of(name: &'static str, released_head: Option<Uuid>) -> Drain {
        Drain { key: key(name), released_head }
    }

    #[test]
    fn held_key_is_released_once_it_is_drained_and_no_row_joined() {
        let mut keys = HeldKeys::default();
        keys.hold(key("1"), id(1));
        assert_eq!(keys.behind(&key("1")), Some(id(1)));
        assert!(!keys.release(id(2)), "a row that holds no key");
        assert!(keys.release(id(1)));
        assert_eq!(keys.next_drain(), Some(drain_of("1", Some(id(1)))));
        let token = Token::from_usize(7);
        keys.join(&key("1"), token);
        keys.drained(key("1"));
        assert_eq!(keys.next_drain(), None, "the row that joined is not durable yet");
        keys.written(token);
        assert_eq!(keys.next_drain(), Some(drain_of("1", None)));
        keys.drained(key("1"));
        assert!(keys.is_empty());
    }

    #[test]
    fn held_key_stays_held_while_a_joining_row_is_not_visible() {
        let mut keys = HeldKeys::default();
        keys.hold(key("1"), id(1));
        let token = Token::from_usize(7);
        keys.join(&key("1"), token);
        keys.release(id(1));
        keys.next_drain();
        keys.drained(key("1"));
        assert!(!keys.is_empty(), "the joining row would be overtaken");
        keys.written(token);
        assert_eq!(keys.next_drain(), Some(drain_of("1", None)));
        keys.drained(key("1"));
        assert!(keys.is_empty());
    }

    #[test]
    fn held_keys_are_drained_independently_and_each_once_at_a_time() {
        let mut keys = HeldKeys::default();
        for (name, row) in [("1", 1), ("2", 2)] {
            keys.hold(key(name), id(row));
            keys.release(id(row));
        }
        keys.next_drain();
        keys.join(&key("1"), Token::from_usize(7));
        keys.written(Token::from_usize(7));
        assert_eq!(keys.next_drain().map(|drain| drain.key), Some(key("2")));
        assert_eq!(keys.next_drain(), None);
        keys.drained(key("1"));
        assert_eq!(keys.next_drain().map(|drain| drain.key), Some(key("1")));
    }

    #[test]
    fn held_key_is_held_again_by_a_waiting_row_that_fails() {
        let mut keys = HeldKeys::default();
        keys.hold(key("1"), id(1));
        keys.release(id(1));
        keys.next_drain();
        keys.hold(key("1"), id(2));
        keys.drain_blocked(&key("1"));
        assert_eq!((keys.behind(&key("1")), keys.is_draining(&key("1"))), (Some(id(2)), false));
        assert!(keys.release(id(2)));
        assert!(keys.next_drain().is_some());
    }

    #[test]
    fn held_keys_resume_an_interrupted_drain_when_loaded() {
        let stored = |name, head| HeldKey { key: key(name), head, waiting: 1 };
        let mut keys = HeldKeys::load(vec![stored("1", Some(id(1))), stored("2", None)]);
        assert_eq!(keys.next_drain(), Some(drain_of("2", None)));
        assert_eq!(keys.next_drain(), None);
        assert_eq!(keys.len(), 2);
    }
}
