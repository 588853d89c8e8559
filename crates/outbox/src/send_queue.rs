//! Events between admission and the broker's acknowledgement, in hand-over order.

use std::collections::VecDeque;

use crate::ledger::Token;

/// The events that wait for the producer, and those that it has and that are not yet acknowledged.
///
/// A producer that ends leaves events whose outcome is unknown. They are kept here until they are acknowledged, so
/// that the next producer gets them first, in the order in which they were handed over: an unacknowledged event is
/// never sent after a later one. Memory is bounded by what the ledger admits.
#[derive(Debug)]
pub struct SendQueue<E> {
    ready: VecDeque<(Token, E)>,
    /// By token. Tokens are reused, so this is as long as the most events ever in flight.
    handed_over: Vec<Option<HandedOver<E>>>,
    handed_over_len: usize,
    next_sequence: u64,
}

#[derive(Debug)]
struct HandedOver<E> {
    sequence: u64,
    event: E,
}

impl<E> Default for SendQueue<E> {
    fn default() -> Self {
        SendQueue { ready: VecDeque::new(), handed_over: Vec::new(), handed_over_len: 0, next_sequence: 0 }
    }
}

impl<E> SendQueue<E> {
    /// Appends an event, behind all that are ready.
    pub fn push(&mut self, token: Token, event: E) {
        self.ready.push_back((token, event));
    }

    /// Takes the next event to hand over; follow it with [`handed_over`](Self::handed_over), or with
    /// [`put_back`](Self::put_back) where the producer does not take it yet.
    pub fn pop(&mut self) -> Option<(Token, E)> {
        self.ready.pop_front()
    }

    /// Returns an event that [`pop`](Self::pop) took to its place.
    pub fn put_back(&mut self, token: Token, event: E) {
        self.ready.push_front((token, event));
    }

    /// The producer has the event; it stays here until [`acknowledged`](Self::acknowledged).
    pub fn handed_over(&mut self, token: Token, event: E) {
        let index = token.to_usize();
        if self.handed_over.len() <= index {
            self.handed_over.resize_with(index + 1, || None);
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        if self.handed_over[index].replace(HandedOver { sequence, event }).is_none() {
            self.handed_over_len += 1;
        }
    }

    /// The broker acknowledged the event, which leaves the queue. `None` if the producer does not have it.
    pub fn acknowledged(&mut self, token: Token) -> Option<E> {
        let handed_over = self.handed_over.get_mut(token.to_usize())?.take()?;
        self.handed_over_len -= 1;
        Some(handed_over.event)
    }

    /// An event that the producer has, to note its failure on it.
    pub fn handed_over_mut(&mut self, token: Token) -> Option<&mut E> {
        Some(&mut self.handed_over.get_mut(token.to_usize())?.as_mut()?.event)
    }

    /// The producer has ended: whatever it had and did not acknowledge is ready again, in hand-over order and before
    /// all else. Returns how many events these are.
    pub fn producer_ended(&mut self) -> usize {
        let unacknowledged = self.handed_over.iter_mut().enumerate();
        let mut unacknowledged: Vec<(u64, Token, E)> = unacknowledged
            .filter_map(|(index, slot)| {
                slot.take().map(|HandedOver { sequence, event }| (sequence, Token::from_usize(index), event))
            })
            .collect();
        self.handed_over_len = 0;
        unacknowledged.sort_unstable_by_key(|(sequence, ..)| *sequence);
        let count = unacknowledged.len();
        for (_, token, event) in unacknowledged.into_iter().rev() {
            self.ready.push_front((token, event));
        }
        count
    }

    /// Whether no event waits for the producer.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// How many events the producer has that are not yet acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.handed_over_len
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(number: usize) -> Token {
        Token::from_usize(number)
    }

    #[test]
    fn send_queue_returns_unacknowledged_events_first_and_in_hand_over_order() {
        let mut queue = SendQueue::default();
        for (number, event) in ["a", "b", "c", "d"].into_iter().enumerate() {
            queue.push(token(9 - number), event);
        }
        for _ in 0..3 {
            let (token, event) = queue.pop().expect("ready");
            queue.handed_over(token, event);
        }
        assert_eq!(queue.acknowledged(token(8)), Some("b"));
        assert_eq!(queue.acknowledged(token(8)), None, "acknowledged once");
        assert_eq!((queue.producer_ended(), queue.unacknowledged()), (2, 0));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, event)| event).collect();
        assert_eq!(order, ["a", "c", "d"]);
    }

    proptest! {
        /// Whenever a producer ends, what it had not acknowledged goes out again before anything newer, in order,
        /// and each event is acknowledged exactly once.
        #[test]
        fn send_queue_loses_and_reorders_nothing(steps in proptest::collection::vec(0u8..4, 0..200)) {
            let mut queue = SendQueue::default();
            let (mut pushed, mut acknowledged, mut wire) = (0usize, Vec::new(), VecDeque::new());
            for step in steps {
                match step {
                    0 => {
                        queue.push(token(pushed), pushed);
                        pushed += 1;
                    }
                    1 => if let Some((token, event)) = queue.pop() {
                        queue.handed_over(token, event);
                        wire.push_back(event);
                    },
                    2 => if let Some(event) = wire.pop_front() {
                        prop_assert_eq!(queue.acknowledged(token(event)), Some(event));
                        acknowledged.push(event);
                    },
                    _ => {
                        prop_assert_eq!(queue.producer_ended(), wire.len());
                        wire.clear();
                    }
                }
                prop_assert_eq!(queue.unacknowledged(), wire.len());
                prop_assert!(wire.iter().is_sorted());
            }
            prop_assert!(acknowledged.iter().enumerate().all(|(index, event)| index == *event));
        }
    }
}
