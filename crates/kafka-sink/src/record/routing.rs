//! Where a row goes: its topic and its key.

use std::fmt;
use std::sync::Arc;

use outbox::{Columns, Event};
use outbox_store::TemplatePart;

use crate::record::rejection::Refusal;
use crate::record::template::{Template, TemplateError, Value};
use crate::record::topics::{self, Topics};

/// How a row's topic and key are found.
///
/// The topic is the row's own, where its topic column is neither NULL nor empty, and otherwise what the
/// topic template makes of the row. The key is the row's own, where its partition key column is not NULL,
/// and otherwise what the key template makes of it.
///
/// A template that meets a NULL makes the row one that cannot be published; only a key template that is one
/// column and nothing else then makes a record without a key, which goes to any partition.
#[derive(Clone, Debug)]
pub struct Routing {
    topic: Template,
    key: Template,
}

/// What is wrong with the routing's templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingError {
    problems: Vec<(&'static str, String)>,
}

impl RoutingError {
    /// Every problem: the setting it is in (`routing.topic`, `routing.key`), and what is wrong, where, and
    /// what the setting takes.
    pub fn problems(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.problems.iter().map(|(setting, problem)| (*setting, problem.as_str()))
    }
}

impl fmt::Display for RoutingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (setting, problem)) in self.problems().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{setting}: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for RoutingError {}

impl Routing {
    /// Reads the two templates: text with the names of table columns in braces, `{{` and `}}` for the braces
    /// themselves. A column that plays no part of its own joins `columns.others`, in whose order
    /// [`Event::others`] is to hold the values.
    ///
    /// # Errors
    ///
    /// Every problem of both templates.
    pub fn compile(topic: &str, key: &str, columns: &mut Columns) -> Result<Self, RoutingError> {
        let mut problems = Vec::new();
        let mut parse = |setting, text, columns: &mut Columns| {
            let template = Template::parse(text, columns);
            template.map_err(|error: TemplateError| problems.push((setting, error.to_string()))).ok()
        };
        let topic = parse("routing.topic", topic, columns);
        let key = parse("routing.key", key, columns);
        let illegal = topic.iter().flat_map(Template::texts).flat_map(str::chars);
        if let Some(character) = illegal.into_iter().find(|c| !u8::try_from(*c).is_ok_and(topics::is_legal)) {
            let problem =
                format!("{character:?} is not for a topic; it takes letters, digits, '.', '_' and '-'");
            problems.push(("routing.topic", problem));
        }
        match (topic, key) {
            (Some(topic), Some(key)) if problems.is_empty() => Ok(Routing { topic, key }),
            _ => Err(RoutingError { problems }),
        }
    }

    /// What the topic template is made of, for statements that route rows in the database.
    pub fn topic_parts(&self) -> impl Iterator<Item = TemplatePart<'_>> {
        self.topic.parts()
    }

    /// What the key template is made of, likewise.
    pub fn key_parts(&self) -> impl Iterator<Item = TemplatePart<'_>> {
        self.key.parts()
    }

    /// The topic of the event's record.
    pub(crate) fn topic(
        &self,
        event: &Event,
        topics: &mut Topics,
        buffer: &mut Vec<u8>,
    ) -> Result<Arc<str>, Refusal> {
        let name = match event.topic.as_deref() {
            Some(name) if !name.is_empty() => name,
            _ => match self.topic.render(event, buffer) {
                Ok(()) => buffer.as_slice(),
                Err(column) => return Err(Refusal::null_column("topic", &column.name)),
            },
        };
        topics.intern(name).map_err(|reason| Refusal::topic_name(name, reason))
    }

    /// The key of the event's record; `None` for a record without one.
    pub(crate) fn key<'e>(
        &self,
        event: &'e Event,
        buffer: &'e mut Vec<u8>,
    ) -> Result<Option<&'e [u8]>, Refusal> {
        if let Some(key) = event.partition_key.as_deref() {
            return Ok(Some(key));
        }
        if let Some(column) = self.key.only_column() {
            match column.value(event) {
                Value::Null => return Ok(None),
                Value::Bytes(bytes) => return Ok(Some(bytes)),
                Value::Id(_) => {}
            }
        }
        match self.key.render(event, buffer) {
            Ok(()) => Ok(Some(buffer)),
            Err(column) => Err(Refusal::null_column("key", &column.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::record::fixture::event;

    fn routing(topic: &str, key: &str) -> Routing {
        Routing::compile(topic, key, &mut Columns::default()).unwrap()
    }

    fn topic(routing: &Routing, event: &Event) -> Result<Arc<str>, Refusal> {
        routing.topic(event, &mut Topics::default(), &mut Vec::new())
    }

    #[test]
    fn the_rows_own_topic_and_key_come_first() {
        let routing = routing("outbox.event.{aggregate_type}", "{aggregate_id}");
        let mut event = event();
        assert_eq!(&*topic(&routing, &event).unwrap(), "outbox.event.order");
        assert_eq!(routing.key(&event, &mut Vec::new()).unwrap(), Some(&b"42"[..]));
        event.topic = Some(Bytes::from("mine"));
        event.partition_key = Some(Bytes::from(""));
        assert_eq!(&*topic(&routing, &event).unwrap(), "mine");
        assert_eq!(routing.key(&event, &mut Vec::new()).unwrap(), Some(&b""[..]));
        event.topic = Some(Bytes::new());
        assert_eq!(&*topic(&routing, &event).unwrap(), "outbox.event.order");
    }

    #[test]
    fn a_null_makes_a_record_without_a_key_only_where_it_is_the_whole_key() {
        let mut event = event();
        event.aggregate_id = None;
        let simple = routing("t", "{aggregate_id}");
        assert_eq!(simple.key(&event, &mut Vec::new()).unwrap(), None);
        let refusal = routing("t", "o-{aggregate_id}").key(&event, &mut Vec::new()).unwrap_err();
        assert!(refusal.to_string().contains("aggregate_id"), "{refusal}");
    }

    #[test]
    fn the_id_can_be_the_key() {
        let event = event();
        let mut buffer = Vec::new();
        let routing = routing("t", "{id}");
        let key = routing.key(&event, &mut buffer).unwrap().unwrap();
        assert_eq!(key, event.id.to_string().as_bytes());
    }

    #[test]
    fn a_null_or_an_unfit_value_in_the_topic_refuses_the_row() {
        let routing = routing("outbox.event.{aggregate_type}", "{aggregate_id}");
        let mut event = event();
        event.aggregate_type = None;
        let refusal = topic(&routing, &event).unwrap_err().to_string();
        assert!(refusal.contains("aggregate_type"), "{refusal}");
        event.aggregate_type = Some(Bytes::from("häuser"));
        let refusal = topic(&routing, &event).unwrap_err().to_string();
        assert!(refusal.contains("outbox.event.häuser"), "{refusal}");
    }

    #[test]
    fn problems_of_both_templates_are_told_at_once() {
        let error = Routing::compile("a/{id}", "{payload}", &mut Columns::default()).unwrap_err();
        let settings: Vec<_> = error.problems().map(|(setting, _)| setting).collect();
        assert_eq!(settings, ["routing.key", "routing.topic"]);
        assert!(error.to_string().contains("'/'"), "{error}");
    }
}
