//! Events as they are kept in `postrider.held`.

use bytes::Bytes;
use outbox::{ColumnRole, Event, Status};
use uuid::Uuid;

/// The texts of an event, in the order of `postrider.held.event`.
pub(crate) fn texts(event: &Event) -> impl Iterator<Item = Option<&[u8]>> {
    let fields = ColumnRole::event_texts().map(|(_, field)| field.of(event));
    fields.chain(event.others.iter().map(Option::as_ref)).map(|text| text.map(|text| &**text))
}

/// The event with these texts, with the status that its row would have. Texts that are missing, because a template reads
/// another column since, are NULL.
pub(crate) fn event(
    id: Uuid,
    status: Status,
    created_at_us: Option<i64>,
    texts: Vec<Option<Vec<u8>>>,
) -> Event {
    let mut texts = texts.into_iter().map(|text| text.map(Bytes::from));
    let mut event = Event { created_at_us, status: Some(status), ..Event::new(id) };
    for (_, field) in ColumnRole::event_texts() {
        field.set(&mut event, texts.next().flatten());
    }
    event.others = texts.collect();
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_event_is_the_event_that_was_kept() {
        let mut kept = Event {
            aggregate_id: Some("a".into()),
            payload: Some(Bytes::from_static(b"\xff\0")),
            headers: Some("{}".into()),
            created_at_us: Some(17),
            status: Some(Status::Init),
            others: vec![None, Some("x".into())],
            ..Event::new(Uuid::from_u128(3))
        };
        let stored = texts(&kept).map(|text| text.map(<[u8]>::to_vec)).collect();
        assert_eq!(event(kept.id, Status::Init, kept.created_at_us, stored), kept);
        kept.others.clear();
        assert_eq!(texts(&kept).count(), ColumnRole::event_texts().count());
    }
}
