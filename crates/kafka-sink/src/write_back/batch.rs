//! What goes into a batch, and when it is full or has waited long enough.

use std::time::Duration;

use outbox_store::{PublishRow, PublishRows};
use tokio::time::Instant;

use crate::Published;

// The id, partition and offset with the lengths PostgreSQL's array format puts before each element.
const ROW_BYTES: usize = 16 + 4 + 8 + 4 * 4;

// Kafka's longest topic name has 249 bytes.
const ROW_BYTES_MAX: usize = ROW_BYTES + 249;

/// How large a batch may get and how long it may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) rows_max: usize,
    pub(super) bytes_max: usize,
    pub(super) linger: Duration,
}

/// The batch that is being gathered.
#[derive(Debug)]
pub(super) struct Gathering {
    limits: Limits,
    events: Vec<Published>,
    bytes: usize,
    since: Option<Instant>,
}

/// A batch to be written, as often as it takes.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) events: Vec<Published>,
    pub(super) rows: PublishRows,
}

impl Gathering {
    pub(super) fn new(limits: Limits) -> Self {
        Gathering { limits, events: Vec::new(), bytes: 0, since: None }
    }

    /// The most rows of a batch.
    pub(super) fn rows_max(&self) -> usize {
        self.limits.rows_max
    }

    /// How many more events are certain to fit; one where it is only likely, none when the batch is full.
    pub(super) fn room(&self) -> usize {
        if self.is_full() {
            return 0;
        }
        let by_bytes = (self.limits.bytes_max - self.bytes) / ROW_BYTES_MAX;
        (self.limits.rows_max - self.events.len()).min(by_bytes.max(1))
    }

    pub(super) fn add(&mut self, events: &mut Vec<Published>, now: Instant) {
        if events.is_empty() {
            return;
        }
        self.since.get_or_insert(now);
        self.bytes += events.iter().map(|event| ROW_BYTES + event.topic.len()).sum::<usize>();
        self.events.append(events);
    }

    /// When the batch has waited long enough, if there is one.
    pub(super) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + self.limits.linger)
    }

    /// The batch, if it is full or has waited long enough.
    pub(super) fn take(&mut self, now: Instant) -> Option<Batch> {
        if !self.is_full() && self.due().is_none_or(|due| now < due) {
            return None;
        }
        self.since = None;
        self.bytes = 0;
        Some(Batch::new(std::mem::take(&mut self.events)))
    }

    fn is_full(&self) -> bool {
        self.events.len() >= self.limits.rows_max || self.bytes >= self.limits.bytes_max
    }
}

impl Batch {
    pub(super) fn new(events: Vec<Published>) -> Self {
        let rows = events.iter().map(|event| PublishRow {
            id: event.id,
            xid: event.xid,
            topic: event.topic.clone(),
            partition: event.place.partition,
            offset: event.place.offset,
        });
        Batch { rows: PublishRows::new(rows), events }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Place;
    use outbox::Token;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn event(number: usize, topic: &str) -> Published {
        Published {
            token: Token::from_usize(number),
            id: Uuid::from_u128(number as u128),
            xid: None,
            topic: topic.into(),
            place: Place { partition: 0, offset: number as i64 },
        }
    }

    fn limits(rows_max: usize, bytes_max: usize) -> Limits {
        Limits { rows_max, bytes_max, linger: Duration::from_millis(3) }
    }

    #[test]
    fn a_lone_event_waits_for_the_linger_and_no_longer() {
        let now = Instant::now();
        let mut gathering = Gathering::new(limits(10, 10_000));
        assert!(gathering.take(now).is_none());
        gathering.add(&mut vec![event(1, "t")], now);
        assert!(gathering.take(now + Duration::from_millis(2)).is_none());
        let batch = gathering.take(now + Duration::from_millis(3)).expect("it is due");
        assert_eq!(batch.events, [event(1, "t")]);
        assert_eq!(gathering.due(), None);
    }

    #[test]
    fn events_that_come_later_do_not_prolong_the_wait_of_the_first() {
        let now = Instant::now();
        let mut gathering = Gathering::new(limits(10, 10_000));
        gathering.add(&mut vec![event(1, "t")], now);
        gathering.add(&mut vec![event(2, "t")], now + Duration::from_millis(2));
        assert_eq!(gathering.due(), Some(now + Duration::from_millis(3)));
    }

    #[test]
    fn a_row_that_is_published_twice_is_written_once_and_both_its_events_are_reported() {
        let now = Instant::now();
        let mut gathering = Gathering::new(limits(2, 10_000));
        let mut again = event(1, "t");
        again.token = Token::from_usize(2);
        gathering.add(&mut vec![event(1, "t"), again], now);
        let batch = gathering.take(now).expect("it is full");
        assert_eq!((batch.events.len(), batch.rows.len()), (2, 1));
    }

    proptest! {
        #[test]
        fn no_batch_passes_its_limits_and_no_event_is_left_out(
            topics in proptest::collection::vec(1usize..249, 1..300),
            rows_max in 1usize..50,
            bytes_max in 1usize..5000,
        ) {
            let now = Instant::now();
            let mut gathering = Gathering::new(limits(rows_max, bytes_max));
            let mut tokens = Vec::new();
            let mut queue: std::collections::VecDeque<_> =
                topics.iter().enumerate().map(|(number, length)| event(number, &"t".repeat(*length))).collect();
            while !queue.is_empty() {
                let room = gathering.room();
                prop_assert!(room > 0);
                let mut taken: Vec<_> = queue.drain(..room.min(queue.len())).collect();
                let last = taken.last().map_or(0, |event| ROW_BYTES + event.topic.len());
                gathering.add(&mut taken, now);
                prop_assert!(gathering.bytes < bytes_max + last);
                if let Some(batch) = gathering.take(now) {
                    prop_assert!(batch.events.len() <= rows_max);
                    tokens.extend(batch.events.iter().map(|event| event.token));
                }
            }
            if let Some(batch) = gathering.take(now + Duration::from_secs(1)) {
                tokens.extend(batch.events.iter().map(|event| event.token));
            }
            prop_assert!(tokens.iter().map(|token| token.to_usize()).eq(0..topics.len()));
        }
    }
}
