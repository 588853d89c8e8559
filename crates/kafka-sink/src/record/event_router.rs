//! Where an event goes, without publishing it.

use std::sync::Arc;

use bytes::Bytes;
use outbox::{Event, OrderingKey};

use crate::record::routing::Routing;
use crate::record::topics::Topics;

/// The topic and the ordering key of events. Reuses its buffers from event to event.
pub struct EventRouter {
    routing: Routing,
    topics: Topics,
    topic_buffer: Vec<u8>,
    key_buffer: Vec<u8>,
}

impl EventRouter {
    /// A router with the routing of the sink.
    pub fn new(routing: Routing) -> Self {
        EventRouter { routing, topics: Topics::default(), topic_buffer: Vec::new(), key_buffer: Vec::new() }
    }

    /// The topic of the event's record; `None` if routing fails or Kafka would reject its name.
    pub fn topic(&mut self, event: &Event) -> Option<Arc<str>> {
        self.routing.topic(event, &mut self.topics, &mut self.topic_buffer).ok()
    }

    /// The ordering key of the event; `None` for an event without a key, whose order is not kept.
    ///
    /// The topic is the row's topic column even if Kafka would reject it, and empty if routing fails.
    pub fn ordering_key(&mut self, event: &Event) -> Option<OrderingKey> {
        let topic = match (self.topic(event), event.topic.as_deref()) {
            (Some(topic), _) => (*topic).to_owned(),
            (None, Some(name)) => String::from_utf8_lossy(name).into_owned(),
            (None, None) => String::new(),
        };
        let key = self.routing.key(event, &mut self.key_buffer).ok().flatten()?;
        Some(OrderingKey { topic, key: Bytes::copy_from_slice(key) })
    }
}
