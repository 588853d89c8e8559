//! Text with `{column}` in it: how a topic or a key is made of a row.

use outbox::{Columns, Event};
use outbox_store::TemplatePart;
use uuid::Uuid;

/// A template, ready to be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Column(Column),
}

/// A column a template reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// The column's own name in the table.
    pub(crate) name: String,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Id,
    AggregateType,
    AggregateId,
    EventType,
    Topic,
    PartitionKey,
    Other(usize),
}

/// What is wrong with a template, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("is empty; it takes text with `{{column}}` in it")]
    Empty,
    #[error("character {at}: `{{` has no `}}`; write `{{{{` for the brace itself")]
    Unclosed { at: usize },
    #[error("character {at}: `}}` has no `{{`; write `}}}}` for the brace itself")]
    Unopened { at: usize },
    #[error("character {at}: `{{}}` names no column")]
    Unnamed { at: usize },
    #[error("character {at}: column `{name}` {reason}; it takes {TAKES}")]
    Unusable { at: usize, name: String, reason: &'static str },
}

const TAKES: &str = "the id, aggregate_type, aggregate_id, event_type, topic and partition_key columns and columns of your own";

impl Template {
    /// Reads `text`, whose columns go by their names in the table. Columns that play no part of their own
    /// join `columns.others`, if they are not there yet.
    pub(crate) fn parse(text: &str, columns: &mut Columns) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut characters = text.chars().enumerate().map(|(index, c)| (index + 1, c)).peekable();
        while let Some((at, character)) = characters.next() {
            match character {
                '{' | '}' if characters.next_if(|(_, next)| *next == character).is_some() => {
                    literal.push(character);
                }
                '{' => {
                    let mut name = String::new();
                    loop {
                        match characters.next() {
                            None | Some((_, '{')) => return Err(TemplateError::Unclosed { at }),
                            Some((_, '}')) => break,
                            Some((_, character)) => name.push(character),
                        }
                    }
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal)));
                    }
                    parts.push(Part::Column(Column::find(name, at, columns)?));
                }
                '}' => return Err(TemplateError::Unopened { at }),
                _ => literal.push(character),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        if parts.is_empty() {
            return Err(TemplateError::Empty);
        }
        Ok(Template { parts })
    }

    /// The column that the whole template is, where it is no more than one.
    pub(crate) fn only_column(&self) -> Option<&Column> {
        match self.parts.as_slice() {
            [Part::Column(column)] => Some(column),
            _ => None,
        }
    }

    /// All of it, in order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = TemplatePart<'_>> {
        self.parts.iter().map(|part| match part {
            Part::Text(text) => TemplatePart::Text(text),
            Part::Column(column) => TemplatePart::Column(&column.name),
        })
    }

    /// The text around the columns.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Column(_) => None,
        })
    }

    /// Fills the template in, into `buffer`; fails with the first column that is NULL.
    pub(crate) fn render(&self, event: &Event, buffer: &mut Vec<u8>) -> Result<(), &Column> {
        buffer.clear();
        for part in &self.parts {
            match part {
                Part::Text(text) => buffer.extend_from_slice(text.as_bytes()),
                Part::Column(column) => match column.value(event) {
                    Value::Null => return Err(column),
                    Value::Bytes(bytes) => buffer.extend_from_slice(bytes),
                    Value::Id(id) => {
                        buffer.extend_from_slice(
                            id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes(),
                        );
                    }
                },
            }
        }
        Ok(())
    }
}

/// A column's value in a row.
pub(crate) enum Value<'e> {
    Null,
    Bytes(&'e [u8]),
    Id(Uuid),
}

impl Column {
    fn find(name: String, at: usize, columns: &mut Columns) -> Result<Self, TemplateError> {
        if name.is_empty() {
            return Err(TemplateError::Unnamed { at });
        }
        let unusable = |reason| Err(TemplateError::Unusable { at, name: name.clone(), reason });
        let role = match &name {
            n if *n == columns.id => Role::Id,
            n if *n == columns.aggregate_type => Role::AggregateType,
            n if *n == columns.aggregate_id => Role::AggregateId,
            n if *n == columns.event_type => Role::EventType,
            n if *n == columns.topic => Role::Topic,
            n if *n == columns.partition_key => Role::PartitionKey,
            n if *n == columns.payload => return unusable("is the record's value, which is never parsed"),
            n if *n == columns.headers => return unusable("becomes the record's headers"),
            n if *n == columns.created_at => return unusable("becomes the record's timestamp"),
            n if columns.written_later().contains(&n.as_str()) => {
                return unusable("is written after the record is sent");
            }
            n => Role::Other(columns.others.iter().position(|other| other == n).unwrap_or_else(|| {
                columns.others.push(n.clone());
                columns.others.len() - 1
            })),
        };
        Ok(Column { name, role })
    }

    pub(crate) fn value<'e>(&self, event: &'e Event) -> Value<'e> {
        let bytes = match self.role {
            Role::Id => return Value::Id(event.id),
            Role::AggregateType => &event.aggregate_type,
            Role::AggregateId => &event.aggregate_id,
            Role::EventType => &event.event_type,
            Role::Topic => &event.topic,
            Role::PartitionKey => &event.partition_key,
            Role::Other(index) => event.others.get(index).unwrap_or(&None),
        };
        bytes.as_deref().map_or(Value::Null, Value::Bytes)
    }
}

trait WrittenLater {
    fn written_later(&self) -> [&str; 9];
}

impl WrittenLater for Columns {
    fn written_later(&self) -> [&str; 9] {
        [
            &self.status,
            &self.published_at,
            &self.completed_at,
            &self.kafka_topic,
            &self.kafka_partition,
            &self.kafka_offset,
            &self.attempts,
            &self.last_attempt_at,
            &self.last_error,
        ]
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::record::fixture::event;

    fn parse(text: &str) -> Result<Template, TemplateError> {
        Template::parse(text, &mut Columns::default())
    }

    fn render(text: &str, event: &Event) -> String {
        let mut buffer = Vec::new();
        parse(text).unwrap().render(event, &mut buffer).unwrap();
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn every_usable_column_is_filled_in() {
        let mut event = event();
        event.topic = Some(Bytes::from("t"));
        event.partition_key = Some(Bytes::from("p"));
        let text = "{id}/{aggregate_type}/{aggregate_id}/{event_type}/{topic}/{partition_key}";
        assert_eq!(render(text, &event), format!("{}/order/42/order_placed/t/p", event.id));
    }

    #[test]
    fn doubled_braces_are_the_braces_themselves() {
        assert_eq!(render("a{{{aggregate_id}}}z", &event()), "a{42}z");
        assert_eq!(render("{{}}", &event()), "{}");
    }

    #[test]
    fn a_column_goes_by_its_name_in_the_table() {
        let mut columns = Columns { aggregate_type: "kind".to_owned(), ..Columns::default() };
        let template = Template::parse("{kind}", &mut columns).unwrap();
        assert!(matches!(template.only_column(), Some(column) if column.role == Role::AggregateType));
        assert!(columns.others.is_empty());
    }

    #[test]
    fn a_column_of_the_users_own_is_read_once_however_often_it_is_named() {
        let mut columns = Columns { others: vec!["region".to_owned()], ..Columns::default() };
        let template = Template::parse("{tenant}.{region}.{tenant}", &mut columns).unwrap();
        assert_eq!(columns.others, ["region", "tenant"]);
        let mut event = event();
        event.others = vec![Some(Bytes::from("eu")), Some(Bytes::from("acme"))];
        let mut buffer = Vec::new();
        template.render(&event, &mut buffer).unwrap();
        assert_eq!(buffer, b"acme.eu.acme");
    }

    #[test]
    fn a_null_column_is_named() {
        let mut event = event();
        event.aggregate_type = None;
        let template = parse("outbox.event.{aggregate_type}").unwrap();
        assert_eq!(template.render(&event, &mut Vec::new()).unwrap_err().name, "aggregate_type");
    }

    #[test]
    fn what_a_template_cannot_be_is_an_error_with_its_place() {
        assert_eq!(parse(""), Err(TemplateError::Empty));
        assert_eq!(parse("a.{id"), Err(TemplateError::Unclosed { at: 3 }));
        assert_eq!(parse("a.{id{x}"), Err(TemplateError::Unclosed { at: 3 }));
        assert_eq!(parse("id}"), Err(TemplateError::Unopened { at: 3 }));
        assert_eq!(parse("é{}"), Err(TemplateError::Unnamed { at: 2 }));
        for column in ["payload", "headers", "created_at", "status", "kafka_offset", "last_error"] {
            let error = parse(&format!("t.{{{column}}}")).unwrap_err();
            assert!(matches!(&error, TemplateError::Unusable { at: 3, .. }), "{error}");
            assert!(error.to_string().contains(column), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_template_or_an_error(text in "[{}a-z.é]{0,20}") {
            if let Ok(template) = parse(&text) {
                let _ = template.render(&event(), &mut Vec::new());
            }
        }

        #[test]
        fn text_with_its_braces_doubled_comes_out_as_it_was(text in "[{}a-z.é ]{1,20}") {
            let doubled = text.replace('{', "{{").replace('}', "}}");
            prop_assert_eq!(render(&doubled, &event()), text);
        }
    }
}
