//! Templates of topics and keys: text with `{column}` in it.

use outbox::{Columns, Event};
use outbox_store::TemplatePart;
use uuid::Uuid;

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Column(TemplateColumn),
}

/// A column in a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TemplateColumn {
    /// The column's name in the table.
    pub(crate) name: String,
    role: TemplateRole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TemplateRole {
    Id,
    AggregateType,
    AggregateId,
    EventType,
    Topic,
    PartitionKey,
    Other(usize),
}

/// A problem of a template, and where it is.
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
    /// Parses `text`, which names columns as in the table. Columns without a role of their own are added to
    /// `columns.others`, once.
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
                        parts.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    parts.push(Piece::Column(TemplateColumn::find(name, at, columns)?));
                }
                '}' => return Err(TemplateError::Unopened { at }),
                _ => literal.push(character),
            }
        }
        if !literal.is_empty() {
            parts.push(Piece::Text(literal));
        }
        if parts.is_empty() {
            return Err(TemplateError::Empty);
        }
        Ok(Template { parts })
    }

    /// The column, if the template is a single column.
    pub(crate) fn only_column(&self) -> Option<&TemplateColumn> {
        match self.parts.as_slice() {
            [Piece::Column(column)] => Some(column),
            _ => None,
        }
    }

    /// The parts, in order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = TemplatePart<'_>> {
        self.parts.iter().map(|part| match part {
            Piece::Text(text) => TemplatePart::Text(text),
            Piece::Column(column) => TemplatePart::Column(&column.name),
        })
    }

    /// The text around the columns.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Column(_) => None,
        })
    }

    /// Writes the result for the event to `buffer`; fails with the first column that is NULL.
    pub(crate) fn render(&self, event: &Event, buffer: &mut Vec<u8>) -> Result<(), &TemplateColumn> {
        buffer.clear();
        for part in &self.parts {
            match part {
                Piece::Text(text) => buffer.extend_from_slice(text.as_bytes()),
                Piece::Column(column) => match column.value(event) {
                    ColumnValue::Null => return Err(column),
                    ColumnValue::Bytes(bytes) => buffer.extend_from_slice(bytes),
                    ColumnValue::Id(id) => {
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
pub(crate) enum ColumnValue<'e> {
    Null,
    Bytes(&'e [u8]),
    Id(Uuid),
}

impl TemplateColumn {
    fn find(name: String, at: usize, columns: &mut Columns) -> Result<Self, TemplateError> {
        if name.is_empty() {
            return Err(TemplateError::Unnamed { at });
        }
        let unusable = |reason| Err(TemplateError::Unusable { at, name: name.clone(), reason });
        let role = match &name {
            n if *n == columns.id => TemplateRole::Id,
            n if *n == columns.aggregate_type => TemplateRole::AggregateType,
            n if *n == columns.aggregate_id => TemplateRole::AggregateId,
            n if *n == columns.event_type => TemplateRole::EventType,
            n if *n == columns.topic => TemplateRole::Topic,
            n if *n == columns.partition_key => TemplateRole::PartitionKey,
            n if *n == columns.payload => return unusable("is the record's value, which is never parsed"),
            n if *n == columns.headers => return unusable("becomes the record's headers"),
            n if *n == columns.created_at => return unusable("becomes the record's timestamp"),
            n if columns.written_later().contains(&n.as_str()) => {
                return unusable("is written after the record is sent");
            }
            n => {
                TemplateRole::Other(columns.others.iter().position(|other| other == n).unwrap_or_else(|| {
                    columns.others.push(n.clone());
                    columns.others.len() - 1
                }))
            }
        };
        Ok(TemplateColumn { name, role })
    }

    pub(crate) fn value<'e>(&self, event: &'e Event) -> ColumnValue<'e> {
        let bytes = match self.role {
            TemplateRole::Id => return ColumnValue::Id(event.id),
            TemplateRole::AggregateType => &event.aggregate_type,
            TemplateRole::AggregateId => &event.aggregate_id,
            TemplateRole::EventType => &event.event_type,
            TemplateRole::Topic => &event.topic,
            TemplateRole::PartitionKey => &event.partition_key,
            TemplateRole::Other(index) => event.others.get(index).unwrap_or(&None),
        };
        bytes.as_deref().map_or(ColumnValue::Null, ColumnValue::Bytes)
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
    fn render_fills_in_every_column() {
        let mut event = event();
        event.topic = Some(Bytes::from("t"));
        event.partition_key = Some(Bytes::from("p"));
        let text = "{id}/{aggregate_type}/{aggregate_id}/{event_type}/{topic}/{partition_key}";
        assert_eq!(render(text, &event), format!("{}/order/42/order_placed/t/p", event.id));
    }

    #[test]
    fn doubled_braces_are_literal_braces() {
        assert_eq!(render("a{{{aggregate_id}}}z", &event()), "a{42}z");
        assert_eq!(render("{{}}", &event()), "{}");
    }

    #[test]
    fn parse_uses_the_column_names_of_the_table() {
        let mut columns = Columns { aggregate_type: "kind".to_owned(), ..Columns::default() };
        let template = Template::parse("{kind}", &mut columns).unwrap();
        assert!(matches!(template.only_column(), Some(column) if column.role == TemplateRole::AggregateType));
        assert!(columns.others.is_empty());
    }

    #[test]
    fn parse_adds_another_column_once() {
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
    fn render_fails_with_the_null_column() {
        let mut event = event();
        event.aggregate_type = None;
        let template = parse("outbox.event.{aggregate_type}").unwrap();
        assert_eq!(template.render(&event, &mut Vec::new()).unwrap_err().name, "aggregate_type");
    }

    #[test]
    fn parse_errors_have_a_position() {
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
        fn parse_accepts_or_rejects_any_text(text in "[{}a-z.é]{0,20}") {
            if let Ok(template) = parse(&text) {
                let _ = template.render(&event(), &mut Vec::new());
            }
        }

        #[test]
        fn render_restores_text_with_doubled_braces(text in "[{}a-z.é ]{1,20}") {
            let doubled = text.replace('{', "{{").replace('}', "}}");
            prop_assert_eq!(render(&doubled, &event()), text);
        }
    }
}
