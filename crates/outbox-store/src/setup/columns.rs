//! The part each column plays, what it needs to play it, and who writes it.

use outbox::Columns;

/// When a column must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Always,
    /// Absent, it counts as NULL in every row.
    Never,
    /// Postrider writes it; without write-back nobody looks at it.
    WriteBack,
}

/// Which types can play the part.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Takes {
    /// Those of PostgreSQL's own that are listed, as `format_type` names them.
    Only(&'static [&'static str]),
    /// Those listed and whatever a user made that is text: enums, domains over text.
    OrTextOfUsers(&'static [&'static str]),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// The key under `[columns]`, and the placeholder in the SQL.
    pub(crate) key: &'static str,
    pub(crate) need: Need,
    pub(crate) takes: Takes,
    name: fn(&Columns) -> &str,
}

impl Part {
    pub(crate) fn name(self, columns: &Columns) -> &str {
        (self.name)(columns)
    }
}

// What the reader makes a record's texts of, and what the statements here can compare and assign.
const WORDS: Takes = Takes::OrTextOfUsers(&[
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
const TEXT: Takes = Takes::OrTextOfUsers(&["text", "character varying"]);
const TIME: Takes = Takes::Only(&["timestamp with time zone", "timestamp without time zone"]);
const COUNT: Takes = Takes::Only(&["smallint", "integer", "bigint"]);

pub(crate) const PARTS: [Part; 18] = [
    Part { key: "id", need: Need::Always, takes: Takes::Only(&["uuid"]), name: |c| &c.id },
    Part { key: "aggregate_type", need: Need::Always, takes: WORDS, name: |c| &c.aggregate_type },
    Part { key: "aggregate_id", need: Need::Always, takes: WORDS, name: |c| &c.aggregate_id },
    Part { key: "event_type", need: Need::Always, takes: WORDS, name: |c| &c.event_type },
    Part {
        key: "payload",
        need: Need::Always,
        takes: Takes::Only(&["jsonb", "json", "text", "character varying", "bytea"]),
        name: |c| &c.payload,
    },
    Part {
        key: "headers",
        need: Need::Never,
        takes: Takes::Only(&["jsonb", "json", "text", "character varying"]),
        name: |c| &c.headers,
    },
    Part { key: "topic", need: Need::Never, takes: WORDS, name: |c| &c.topic },
    Part { key: "partition_key", need: Need::Never, takes: WORDS, name: |c| &c.partition_key },
    Part { key: "created_at", need: Need::Never, takes: TIME, name: |c| &c.created_at },
    Part { key: "status", need: Need::WriteBack, takes: TEXT, name: |c| &c.status },
    Part { key: "published_at", need: Need::WriteBack, takes: TIME, name: |c| &c.published_at },
    Part { key: "completed_at", need: Need::WriteBack, takes: TIME, name: |c| &c.completed_at },
    Part { key: "kafka_topic", need: Need::WriteBack, takes: TEXT, name: |c| &c.kafka_topic },
    Part {
        key: "kafka_partition",
        need: Need::WriteBack,
        takes: Takes::Only(&["integer", "bigint"]),
        name: |c| &c.kafka_partition,
    },
    Part {
        key: "kafka_offset",
        need: Need::WriteBack,
        takes: Takes::Only(&["bigint"]),
        name: |c| &c.kafka_offset,
    },
    Part { key: "attempts", need: Need::WriteBack, takes: COUNT, name: |c| &c.attempts },
    Part { key: "last_attempt_at", need: Need::WriteBack, takes: TIME, name: |c| &c.last_attempt_at },
    Part { key: "last_error", need: Need::WriteBack, takes: TEXT, name: |c| &c.last_error },
];

/// The columns a template reads that play no other part.
pub(crate) fn templated(columns: &Columns) -> impl Iterator<Item = &str> {
    let others = columns.others.iter().enumerate();
    others
        .filter(|(index, name)| {
            !PARTS.iter().any(|part| part.name(columns) == name.as_str())
                && !columns.others[..*index].contains(name)
        })
        .map(|(_, name)| name.as_str())
}

pub(crate) const TEMPLATED: Takes = WORDS;

impl Takes {
    pub(crate) fn accepts(self, type_name: &str, text_of_user: bool) -> bool {
        match self {
            Takes::Only(types) => !text_of_user && types.contains(&type_name),
            Takes::OrTextOfUsers(types) => text_of_user || types.contains(&type_name),
        }
    }

    pub(crate) fn names(self) -> String {
        match self {
            Takes::Only(types) => types.join(", "),
            Takes::OrTextOfUsers(types) => format!("{}, an enum or a domain over text", types.join(", ")),
        }
    }
}
