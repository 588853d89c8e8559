//! The part each column plays, what it needs to play it, and who writes it.

use outbox::Columns;

/// When a column must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requirement {
    Always,
    /// Absent, it counts as NULL in every row.
    Optional,
    /// Postrider writes it; without write-back nobody looks at it.
    WriteBack,
}

/// Which types can play the part.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AcceptedTypes {
    /// Those of PostgreSQL's own that are listed, as `format_type` names them.
    Only(&'static [&'static str]),
    /// Those listed and whatever a user made that is text: enums, domains over text.
    OrTextOfUsers(&'static [&'static str]),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ColumnRole {
    /// The key under `[columns]`, and the placeholder in the SQL.
    pub(crate) key: &'static str,
    pub(crate) requirement: Requirement,
    pub(crate) accepted: AcceptedTypes,
    name: fn(&Columns) -> &str,
}

impl ColumnRole {
    pub(crate) fn name(self, columns: &Columns) -> &str {
        (self.name)(columns)
    }
}

// What the reader makes a record's texts of, and what the statements here can compare and assign.
const WORDS: AcceptedTypes = AcceptedTypes::OrTextOfUsers(&[
    "text",
    "character varying",
    "character",
    "name",
    "uuid",
    "smallint",
    "integer",
    "bigint",
    "boolean",
]);
const TEXT: AcceptedTypes = AcceptedTypes::OrTextOfUsers(&["text", "character varying"]);
const TIME: AcceptedTypes = AcceptedTypes::Only(&["timestamp with time zone", "timestamp without time zone"]);
const COUNT: AcceptedTypes = AcceptedTypes::Only(&["smallint", "integer", "bigint"]);

pub(crate) const COLUMNS: [ColumnRole; 18] = [
    ColumnRole {
        key: "id",
        requirement: Requirement::Always,
        accepted: AcceptedTypes::Only(&["uuid"]),
        name: |c| &c.id,
    },
    ColumnRole {
        key: "aggregate_type",
        requirement: Requirement::Always,
        accepted: WORDS,
        name: |c| &c.aggregate_type,
    },
    ColumnRole {
        key: "aggregate_id",
        requirement: Requirement::Always,
        accepted: WORDS,
        name: |c| &c.aggregate_id,
    },
    ColumnRole {
        key: "event_type",
        requirement: Requirement::Always,
        accepted: WORDS,
        name: |c| &c.event_type,
    },
    ColumnRole {
        key: "payload",
        requirement: Requirement::Always,
        accepted: AcceptedTypes::Only(&["jsonb", "json", "text", "character varying", "bytea"]),
        name: |c| &c.payload,
    },
    ColumnRole {
        key: "headers",
        requirement: Requirement::Optional,
        accepted: AcceptedTypes::Only(&["jsonb", "json", "text", "character varying"]),
        name: |c| &c.headers,
    },
    ColumnRole { key: "topic", requirement: Requirement::Optional, accepted: WORDS, name: |c| &c.topic },
    ColumnRole {
        key: "partition_key",
        requirement: Requirement::Optional,
        accepted: WORDS,
        name: |c| &c.partition_key,
    },
    ColumnRole {
        key: "created_at",
        requirement: Requirement::Optional,
        accepted: TIME,
        name: |c| &c.created_at,
    },
    ColumnRole { key: "status", requirement: Requirement::WriteBack, accepted: TEXT, name: |c| &c.status },
    ColumnRole {
        key: "published_at",
        requirement: Requirement::WriteBack,
        accepted: TIME,
        name: |c| &c.published_at,
    },
    ColumnRole {
        key: "completed_at",
        requirement: Requirement::WriteBack,
        accepted: TIME,
        name: |c| &c.completed_at,
    },
    ColumnRole {
        key: "kafka_topic",
        requirement: Requirement::WriteBack,
        accepted: TEXT,
        name: |c| &c.kafka_topic,
    },
    ColumnRole {
        key: "kafka_partition",
        requirement: Requirement::WriteBack,
        accepted: AcceptedTypes::Only(&["integer", "bigint"]),
        name: |c| &c.kafka_partition,
    },
    ColumnRole {
        key: "kafka_offset",
        requirement: Requirement::WriteBack,
        accepted: AcceptedTypes::Only(&["bigint"]),
        name: |c| &c.kafka_offset,
    },
    ColumnRole {
        key: "attempts",
        requirement: Requirement::WriteBack,
        accepted: COUNT,
        name: |c| &c.attempts,
    },
    ColumnRole {
        key: "last_attempt_at",
        requirement: Requirement::WriteBack,
        accepted: TIME,
        name: |c| &c.last_attempt_at,
    },
    ColumnRole {
        key: "last_error",
        requirement: Requirement::WriteBack,
        accepted: TEXT,
        name: |c| &c.last_error,
    },
];

/// The columns a template reads that play no other part.
pub(crate) fn template_columns(columns: &Columns) -> impl Iterator<Item = &str> {
    let others = columns.others.iter().enumerate();
    others
        .filter(|(index, name)| {
            !COLUMNS.iter().any(|role| role.name(columns) == name.as_str())
                && !columns.others[..*index].contains(name)
        })
        .map(|(_, name)| name.as_str())
}

pub(crate) const TEMPLATE_COLUMN: AcceptedTypes = WORDS;

impl AcceptedTypes {
    pub(crate) fn accepts(self, type_name: &str, text_of_user: bool) -> bool {
        match self {
            AcceptedTypes::Only(types) => !text_of_user && types.contains(&type_name),
            AcceptedTypes::OrTextOfUsers(types) => text_of_user || types.contains(&type_name),
        }
    }

    pub(crate) fn names(self) -> String {
        match self {
            AcceptedTypes::Only(types) => types.join(", "),
            AcceptedTypes::OrTextOfUsers(types) => {
                format!("{}, an enum or a domain over text", types.join(", "))
            }
        }
    }
}
