//! The columns of the outbox table: the one list of their roles.

use std::fmt;

use bytes::Bytes;

use crate::event::Event;

/// When the table needs a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Always.
    Always,
    /// Never; a missing column counts as NULL in every row.
    Optional,
    /// With write-back, which writes it.
    WriteBack,
}

/// The column types that a role accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptedTypes {
    /// uuid.
    Uuid,
    /// Types with a short text: text types, uuid, integers and boolean.
    Scalar,
    /// JSON, text or bytes.
    Payload,
    /// JSON or text.
    Json,
    /// Text.
    Text,
    /// A timestamp, with or without time zone.
    Timestamp,
    /// Any integer.
    Integer,
    /// An integer of at least 4 bytes.
    Integer4,
    /// An integer of 8 bytes.
    Integer8,
}

impl AcceptedTypes {
    /// Built-in types, by the names of `format_type`.
    pub const fn type_names(self) -> &'static [&'static str] {
        match self {
            AcceptedTypes::Uuid => &["uuid"],
            AcceptedTypes::Scalar => &[
                "text",
                "character varying",
                "character",
                "name",
                "uuid",
                "smallint",
                "integer",
                "bigint",
                "boolean",
            ],
            AcceptedTypes::Payload => &["jsonb", "json", "text", "character varying", "bytea"],
            AcceptedTypes::Json => &["jsonb", "json", "text", "character varying"],
            AcceptedTypes::Text => &["text", "character varying"],
            AcceptedTypes::Timestamp => &["timestamp with time zone", "timestamp without time zone"],
            AcceptedTypes::Integer => &["smallint", "integer", "bigint"],
            AcceptedTypes::Integer4 => &["integer", "bigint"],
            AcceptedTypes::Integer8 => &["bigint"],
        }
    }

    /// Whether user-defined types whose binary format is text are accepted: enums and domains over text.
    pub const fn includes_user_text(self) -> bool {
        matches!(self, AcceptedTypes::Scalar | AcceptedTypes::Text)
    }

    /// Whether a type is accepted. `is_user_text`: it is an enum or a domain over text.
    pub fn accepts(self, type_name: &str, is_user_text: bool) -> bool {
        if is_user_text { self.includes_user_text() } else { self.type_names().contains(&type_name) }
    }
}

impl fmt::Display for AcceptedTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.type_names().join(", "))?;
        if self.includes_user_text() { f.write_str(", an enum or a domain over text") } else { Ok(()) }
    }
}

/// A column's role.
#[derive(Clone, Copy, Debug)]
pub struct ColumnRole {
    /// The role's name: the key in the section `[columns]`, the column's default name, and its placeholder in the
    /// table's SQL.
    pub key: &'static str,
    /// The whole configuration key, such as `columns.id`.
    pub config_key: &'static str,
    /// When the table needs the column.
    pub requirement: Requirement,
    /// The column's types.
    pub accepted: AcceptedTypes,
    /// The field of an [`Event`] with the column's text, for columns that a record is made of.
    pub event_text: Option<EventText>,
    name: fn(&Columns) -> &String,
    name_mut: fn(&mut Columns) -> &mut String,
}

/// A text field of an [`Event`].
#[derive(Clone, Copy, Debug)]
pub struct EventText {
    get: fn(&Event) -> &Option<Bytes>,
    get_mut: fn(&mut Event) -> &mut Option<Bytes>,
}

impl EventText {
    /// The field's value.
    pub fn of(self, event: &Event) -> Option<&Bytes> {
        (self.get)(event).as_ref()
    }

    /// Sets the field.
    pub fn set(self, event: &mut Event, value: Option<Bytes>) {
        *(self.get_mut)(event) = value;
    }
}

impl ColumnRole {
    /// The column's name.
    pub fn name(self, columns: &Columns) -> &str {
        (self.name)(columns)
    }

    /// Sets the column's name.
    pub fn rename(self, columns: &mut Columns, name: String) {
        *(self.name_mut)(columns) = name;
    }

    /// The role with this key.
    pub fn by_key(key: &str) -> Option<&'static ColumnRole> {
        COLUMN_ROLES.iter().find(|role| role.key == key)
    }

    /// The role of the column with this name.
    pub fn by_name(columns: &Columns, name: &str) -> Option<&'static ColumnRole> {
        COLUMN_ROLES.iter().find(|role| role.name(columns) == name)
    }

    /// The roles with a text field in [`Event`], in the order of [`COLUMN_ROLES`].
    pub fn event_texts() -> impl Iterator<Item = (&'static ColumnRole, EventText)> {
        COLUMN_ROLES.iter().filter_map(|role| Some((role, role.event_text?)))
    }
}

/// `key: requirement, accepted types, event field;`. A new column is one line here, and one field of [`Event`] if a
/// record is made of it.
macro_rules! column_roles {
    ($($key:ident: $requirement:ident, $accepts:ident $(, $event:ident)?;)*) => {
        /// The names of the outbox table's columns, by role.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each field is named after the role of its column")]
        pub struct Columns {
            $(pub $key: String,)*
            /// Further columns that a topic or key template reads.
            pub others: Vec<String>,
        }

        impl Default for Columns {
            fn default() -> Self {
                Columns { $($key: stringify!($key).to_owned(),)* others: Vec::new() }
            }
        }

        /// Every role, in the order of the columns in the table's SQL.
        pub static COLUMN_ROLES: [ColumnRole; [$(stringify!($key)),*].len()] = [$(
            ColumnRole {
                key: stringify!($key),
                config_key: concat!("columns.", stringify!($key)),
                requirement: Requirement::$requirement,
                accepted: AcceptedTypes::$accepts,
                event_text: event_text!($key $($event)?),
                name: |columns| &columns.$key,
                name_mut: |columns| &mut columns.$key,
            },
        )*];
    };
}

macro_rules! event_text {
    ($key:ident) => {
        None
    };
    ($key:ident event) => {
        Some(EventText { get: |event| &event.$key, get_mut: |event| &mut event.$key })
    };
}

column_roles! {
    id: Always, Uuid;
    aggregate_type: Always, Scalar, event;
    aggregate_id: Always, Scalar, event;
    event_type: Always, Scalar, event;
    payload: Always, Payload, event;
    headers: Optional, Json, event;
    topic: Optional, Scalar, event;
    partition_key: Optional, Scalar, event;
    status: WriteBack, Text;
    created_at: Optional, Timestamp;
    published_at: WriteBack, Timestamp;
    completed_at: WriteBack, Timestamp;
    kafka_topic: WriteBack, Text;
    kafka_partition: WriteBack, Integer4;
    kafka_offset: WriteBack, Integer8;
    attempts: WriteBack, Integer;
    last_attempt_at: WriteBack, Timestamp;
    last_error: WriteBack, Text;
}

impl Columns {
    /// The columns that a template reads and that have no role, each once.
    pub fn template_columns(&self) -> impl Iterator<Item = &str> {
        let others = self.others.iter().enumerate();
        others
            .filter(|(index, name)| {
                ColumnRole::by_name(self, name).is_none() && !self.others[..*index].contains(name)
            })
            .map(|(_, name)| name.as_str())
    }
}

impl Event {
    /// The bytes of the event's values, for the in-flight limits.
    pub fn size_bytes(&self) -> usize {
        let texts: usize =
            ColumnRole::event_texts().filter_map(|(_, field)| field.of(self)).map(Bytes::len).sum();
        texts + self.others.iter().flatten().map(Bytes::len).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn column_roles_name_and_rename_their_own_column() {
        let mut columns = Columns::default();
        for role in &COLUMN_ROLES {
            assert_eq!(role.name(&columns), role.key);
            role.rename(&mut columns, format!("my_{}", role.key));
        }
        for role in &COLUMN_ROLES {
            assert_eq!(role.name(&columns), format!("my_{}", role.key));
            assert_eq!(
                ColumnRole::by_name(&columns, role.name(&columns)).map(|role| role.key),
                Some(role.key)
            );
        }
    }

    #[test]
    fn event_texts_are_fields_of_their_own() {
        let mut event = Event::new(Uuid::nil());
        for (role, field) in ColumnRole::event_texts() {
            assert_eq!(field.of(&event), None, "{}", role.key);
            field.set(&mut event, Some(role.key.into()));
        }
        for (role, field) in ColumnRole::event_texts() {
            assert_eq!(field.of(&event).map(|text| &text[..]), Some(role.key.as_bytes()));
        }
    }

    #[test]
    fn template_columns_are_listed_once_and_without_roles() {
        let others = ["tenant", "aggregate_type", "tenant"].map(str::to_owned).to_vec();
        let columns = Columns { others, ..Columns::default() };
        assert_eq!(columns.template_columns().collect::<Vec<_>>(), ["tenant"]);
    }

    #[test]
    fn accepted_types_print_for_an_error() {
        assert_eq!(AcceptedTypes::Text.to_string(), "text, character varying, an enum or a domain over text");
        assert_eq!(AcceptedTypes::Uuid.to_string(), "uuid");
        assert!(
            AcceptedTypes::Text.accepts("my_status", true) && !AcceptedTypes::Payload.accepts("text", true)
        );
    }
}
