//! The stage between decoding and publishing: it makes a record's value of the payload.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use outbox::{Event, Token};

use crate::relay::publish::failure_policy::PublishFailure;
use crate::relay::publish::queued_event::QueuedEvent;

/// Encodes a payload as a record's value.
///
/// A format that asks a schema registry returns [`Encoding::Pending`]; the main loop goes on while it waits.
pub(crate) trait RecordValueFormat {
    fn encode(&self, event: Event) -> Encoding;
}

#[expect(clippy::large_enum_variant, reason = "Done is the common variant, and consumed at once")]
pub(crate) enum Encoding {
    Done(Event),
    #[cfg_attr(not(test), expect(dead_code, reason = "for formats that await a schema registry"))]
    Pending(Pin<Box<dyn Future<Output = Encoded>>>),
}

/// The event, and why it could not be encoded if it could not.
pub(crate) type Encoded = (Event, Option<PublishFailure>);

/// The payload's bytes as PostgreSQL sent them.
pub(crate) struct PayloadAsIs;

impl RecordValueFormat for PayloadAsIs {
    fn encode(&self, event: Event) -> Encoding {
        Encoding::Done(event)
    }
}

/// Encodes events concurrently and returns them in order. Memory is bounded by the in-flight limits.
pub(crate) struct ValueStage {
    format: Box<dyn RecordValueFormat>,
    slots: VecDeque<Slot>,
}

struct Slot {
    token: Token,
    cause: Option<reconciler::ResendCause>,
    value: EncodedValue,
}

#[expect(clippy::large_enum_variant, reason = "every value becomes Done")]
enum EncodedValue {
    Pending(Pin<Box<dyn Future<Output = Encoded>>>),
    Done(Encoded),
}

impl ValueStage {
    pub(crate) fn new(format: impl RecordValueFormat + 'static) -> Self {
        ValueStage { format: Box::new(format), slots: VecDeque::new() }
    }

    /// Encodes an event. Returns it if it is encoded and no earlier event is pending; otherwise
    /// [`next_encoded`](Self::next_encoded) returns it later.
    pub(crate) fn push(&mut self, token: Token, queued: QueuedEvent) -> Option<(Token, QueuedEvent)> {
        let QueuedEvent { event, cause, .. } = queued;
        let value = match self.format.encode(event) {
            Encoding::Done(event) if self.slots.is_empty() => {
                return Some((token, QueuedEvent::new(event, cause)));
            }
            Encoding::Done(event) => EncodedValue::Done((event, None)),
            Encoding::Pending(encoding) => EncodedValue::Pending(encoding),
        };
        self.slots.push_back(Slot { token, cause, value });
        None
    }

    /// Waits for the next event in order; for ever if there is none. Cancel-safe.
    pub(crate) async fn next_encoded(&mut self) -> (Token, QueuedEvent) {
        poll_fn(|context| {
            for slot in &mut self.slots {
                if let EncodedValue::Pending(encoding) = &mut slot.value
                    && let Poll::Ready(encoded) = encoding.as_mut().poll(context)
                {
                    slot.value = EncodedValue::Done(encoded);
                }
            }
            if !matches!(self.slots.front(), Some(Slot { value: EncodedValue::Done(_), .. })) {
                return Poll::Pending;
            }
            match self.slots.pop_front() {
                Some(Slot { token, cause, value: EncodedValue::Done((event, failure)) }) => {
                    Poll::Ready((token, QueuedEvent { failure, ..QueuedEvent::new(event, cause) }))
                }
                _ => Poll::Pending,
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use uuid::Uuid;

    use super::*;

    /// Asks a registry for every second event; the registry answers in its own order.
    struct SlowFormat(std::cell::RefCell<Vec<oneshot::Receiver<bool>>>);

    impl RecordValueFormat for SlowFormat {
        fn encode(&self, event: Event) -> Encoding {
            if event.id.as_u128().is_multiple_of(2) {
                return Encoding::Done(event);
            }
            let answer = self.0.borrow_mut().remove(0);
            Encoding::Pending(Box::pin(async move {
                let is_known = answer.await.expect("the registry answers");
                let failure = PublishFailure {
                    reason: "no schema".to_owned(),
                    sent: false,
                    dead_letter_rejected: false,
                };
                (event, (!is_known).then_some(failure))
            }))
        }
    }

    fn queued(number: u128) -> QueuedEvent {
        QueuedEvent::new(test_event(number), None)
    }

    fn test_event(number: u128) -> Event {
        Event {
            id: Uuid::from_u128(number),
            aggregate_type: None,
            aggregate_id: None,
            event_type: None,
            payload: None,
            headers: None,
            topic: None,
            partition_key: None,
            created_at_us: None,
            xid: None,
            status: None,
            others: Vec::new(),
        }
    }

    #[tokio::test]
    async fn value_stage_passes_an_encoded_event_through_at_once() {
        let mut stage = ValueStage::new(PayloadAsIs);
        assert!(stage.push(Token::from_usize(0), queued(1)).is_some());
    }

    #[tokio::test]
    async fn value_stage_keeps_order_whatever_order_encodings_finish_in() {
        let (answers, receivers): (Vec<_>, Vec<_>) = (0..2).map(|_| oneshot::channel()).unzip();
        let mut stage = ValueStage::new(SlowFormat(receivers.into()));
        for number in 1..=4 {
            assert!(stage.push(Token::from_usize(number), queued(number as u128)).is_none());
        }
        let mut answers = answers.into_iter();
        let (first, third) = (answers.next().expect("two"), answers.next().expect("two"));
        third.send(false).expect("awaited");
        first.send(true).expect("awaited");
        let mut order = Vec::new();
        for _ in 0..4 {
            let (token, queued) = stage.next_encoded().await;
            order.push((token.to_usize(), queued.failure.is_some()));
        }
        assert_eq!(order, [(1, false), (2, false), (3, true), (4, false)]);
    }
}
