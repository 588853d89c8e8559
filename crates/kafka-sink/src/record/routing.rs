//! The topic and the key of a row.

use std::fmt;
use std::sync::Arc;

use outbox::{Columns, Event};
use outbox_store::TemplatePart;

use crate::record::rejection::Rejection;
use crate::record::template::{ColumnValue, Template, TemplateError};
use crate::record::topics::{self, Topics};

/// Computes the topic and the key of a row.
///
/// The topic is the row's topic column, if it is neither NULL nor empty, or else the result of the topic template. The
/// key is the row's partition key column, if it is not NULL, or else the result of the key template.
///
/// A row with a NULL in a column of a template cannot be published. A key template of a single column is the exception:
/// NULL makes a record without a key, which goes to any partition.
#[derive(Clone, Debug)]
pub struct Routing {
    topic: Template,
    key: Template,
}

/// The problems of the routing templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingError {
    problems: Vec<(&'static str, String)>,
}

impl RoutingError {
    /// Every problem: the setting (`routing.topic`, `routing.key`), and what is wrong, where, and what the setting
    /// accepts.
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
    /// Parses the two templates: text with the names of table columns in braces; `{{` and `}}` are literal braces. A
    /// column without a role of its own is added to `columns.others`. [`Event::others`] must hold the values in that
    /// order.
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
            let problem = format!(
                "{character:?} is not allowed in a topic; it takes letters, digits, '.', '_' and '-'"
            );
            problems.push(("routing.topic", problem));
        }
        match (topic, key) {
            (Some(topic), Some(key)) if problems.is_empty() => Ok(Routing { topic, key }),
            _ => Err(RoutingError { problems }),
        }
    }

    /// The parts of the topic template, for statements that compute the topic in the database.
    pub fn topic_parts(&self) -> impl Iterator<Item = TemplatePart<'_>> {
        self.topic.parts()
    }

    /// The parts of the key template, likewise.
    pub fn key_parts(&self) -> impl Iterator<Item = TemplatePart<'_>> {
        self.key.parts()
    }

    /// The topic of the event's record.
    pub(crate) fn topic(
        &self,
        event: &Event,
        topics: &mut Topics,
        buffer: &mut Vec<u8>,
    ) -> Result<Arc<str>, Rejection> {
        let name = match event.topic.as_deref() {
            Some(name) if !name.is_empty() => name,
            _ => match self.topic.render(event, buffer) {
                Ok(()) => buffer.as_slice(),
                Err(column) => return Err(Rejection::null_column("topic", &column.name)),
            },
        };
        topics.intern(name).map_err(|reason| Rejection::topic_name(name, reason))
    }

    /// The key of the event's record; `None` for a record without one.
    pub(crate) fn key<'e>(
        &self,
        event: &'e Event,
        buffer: &'e mut Vec<u8>,
    ) -> Result<Option<&'e [u8]>, Rejection> {
        if let Some(key) = event.partition_key.as_deref() {
            return Ok(Some(key));
        }
        if let Some(column) = self.key.only_column() {
            match column.value(event) {
                ColumnValue::Null => return Ok(None),
                ColumnValue::Bytes(bytes) => return Ok(Some(bytes)),
                ColumnValue::Id(_) => {}
            }
        }
        match self.key.render(event, buffer) {
            Ok(()) => Ok(Some(buffer)),
            Err(column) => Err(Rejection::null_column("key", &column.name)),
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

    fn topic(routing: &Routing, event: &Event) -> Result<Arc<str>, Rejection> {
        routing.topic(event, &mut Topics::default(), &mut Vec::new())
    }

    #[test]
    fn topic_and_key_columns_precede_the_templates() {
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
    fn null_makes_no_key_only_if_it_is_the_whole_template() {
        let mut event = event();
        event.aggregate_id = None;
        let simple = routing("t", "{aggregate_id}");
        assert_eq!(simple.key(&event, &mut Vec::new()).unwrap(), None);
        let rejection = routing("t", "o-{aggregate_id}").key(&event, &mut Vec::new()).unwrap_err();
        assert!(rejection.to_string().contains("aggregate_id"), "{rejection}");
    }

    #[test]
    fn key_template_accepts_the_id() {
        let event = event();
        let mut buffer = Vec::new();
        let routing = routing("t", "{id}");
        let key = routing.key(&event, &mut buffer).unwrap().unwrap();
        assert_eq!(key, event.id.to_string().as_bytes());
    }

    #[test]
    fn topic_with_null_or_illegal_characters_is_rejected() {
        let routing = routing("outbox.event.{aggregate_type}", "{aggregate_id}");
        let mut event = event();
        event.aggregate_type = None;
        let rejection = topic(&routing, &event).unwrap_err().to_string();
        assert!(rejection.contains("aggregate_type"), "{rejection}");
        event.aggregate_type = Some(Bytes::from("häuser"));
        let rejection = topic(&routing, &event).unwrap_err().to_string();
        assert!(rejection.contains("outbox.event.häuser"), "{rejection}");
    }

    #[test]
    fn compile_returns_the_problems_of_both_templates() {
        let error = Routing::compile("a/{id}", "{payload}", &mut Columns::default()).unwrap_err();
        let settings: Vec<_> = error.problems().map(|(setting, _)| setting).collect();
        assert_eq!(settings, ["routing.key", "routing.topic"]);
        assert!(error.to_string().contains("'/'"), "{error}");
    }
}
