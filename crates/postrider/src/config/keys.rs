//! Every key there is: its name, what it takes, its default. One table, read by the parser, by the
//! suggestions for a misspelt name and by the test of the example file.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use outbox::{COLUMN_ROLES, TableName};

use super::log_filter::is_filter;
use super::raw_value::Raw;

/// A key whose value is a `T`.
pub(crate) struct Key<T: 'static> {
    /// The section and the name in it.
    pub(crate) name: &'static str,
    /// What is to be written, as the end of "takes …".
    pub(crate) takes: &'static str,
    /// As it would stand in a variable.
    pub(crate) default: Option<&'static str>,
    pub(crate) parse: fn(&Raw) -> Option<T>,
}

/// A key, whatever its type.
pub(crate) trait AnyKey: Sync {
    fn name(&self) -> &'static str;
    fn takes(&self) -> &'static str;
    fn accepts(&self, raw: &Raw) -> bool;
    /// Whether the value says no more than the default does.
    #[cfg(test)]
    fn is_default(&self, raw: &Raw) -> bool;
    #[cfg(test)]
    fn default(&self) -> Option<&'static str>;
}

impl<T: PartialEq> AnyKey for Key<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn takes(&self) -> &'static str {
        self.takes
    }

    fn accepts(&self, raw: &Raw) -> bool {
        (self.parse)(raw).is_some()
    }

    #[cfg(test)]
    fn is_default(&self, raw: &Raw) -> bool {
        let default = self.default.map(|text| Raw::Variable(text.to_owned()));
        default.is_some_and(|default| (self.parse)(raw) == (self.parse)(&default))
    }

    #[cfg(test)]
    fn default(&self) -> Option<&'static str> {
        self.default
    }
}

/// The keys that something reads, the columns' aside.
pub(crate) static READ: &[&dyn AnyKey] = &[
    &URL,
    &SLOT,
    &PUBLICATION,
    &TABLE,
    &BROKERS,
    &TOPIC,
    &KEY,
    &WRITEBACK_ENABLED,
    &IN_FLIGHT_EVENTS,
    &IN_FLIGHT_BYTES,
    &RECEIPTS_ENABLED,
    &RECEIPTS_GROUP,
    &RECEIPTS_FOLLOW,
    &INIT_AFTER,
    &PUBLISH_AFTER,
    &ATTEMPTS_MAX,
    &FAILURE_POLICY,
    &DEAD_LETTER_TOPIC,
    &COMPLETE_AFTER,
    &LOG_FORMAT,
    &LOG_LEVEL,
];

/// The keys that are checked and then have no effect: their feature is not in this version. A key leaves
/// this list with the change that reads it.
pub(crate) static WITHOUT_EFFECT: &[&dyn AnyKey] = &[&SLOT_LOST, &HTTP_LISTEN];

/// Where the properties of librdkafka stand; any name is a key there.
pub(crate) const PROPERTIES: &str = "kafka.properties";

/// The keys besides the properties whose value is a secret, so that it can also be given as `…_file`.
pub(crate) const SECRETS: &[&str] = &[URL.name];

/// Every key, the properties aside.
pub(crate) fn all() -> impl Iterator<Item = &'static dyn AnyKey> {
    let columns = COLUMNS.iter().map(|key| key as &dyn AnyKey);
    READ.iter().copied().chain(columns).chain(WITHOUT_EFFECT.iter().copied())
}

pub(crate) static URL: Key<String> = Key {
    name: "postgres.url",
    takes: "a URL such as postgres://user:password@host:5432/database, or text such as \
            host=… user=… password=… dbname=…",
    default: None,
    parse: |raw| raw.text().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned),
};

pub(crate) static SLOT: Key<String> = Key {
    name: "postgres.slot",
    takes: "1 to 63 lower-case letters, digits and underscores",
    default: Some("postrider"),
    parse: slot_name,
};

pub(crate) static PUBLICATION: Key<String> =
    Key { name: "postgres.publication", takes: IDENTIFIER, default: Some("postrider"), parse: identifier };

pub(crate) static TABLE: Key<TableName> = Key {
    name: "postgres.table",
    takes: "a table's name such as public.outbox, with double quotes around a part that holds a dot",
    default: Some("public.outbox"),
    parse: |raw| raw.text()?.trim().parse().ok(),
};

pub(crate) static SLOT_LOST: Key<String> = Key {
    name: "postgres.slot_lost",
    takes: "recover or stop",
    default: Some("recover"),
    parse: |raw| one_of(raw, &["recover", "stop"]),
};

pub(crate) static BROKERS: Key<Vec<String>> = Key {
    name: "kafka.brokers",
    takes: "one or more of host:port, separated by commas",
    default: None,
    parse: |raw| raw.list().filter(|list| !list.is_empty() && list.iter().all(|text| is_broker(text))),
};

pub(crate) static TOPIC: Key<String> = Key {
    name: "routing.topic",
    takes: "a topic's name, with {column} where a column's value is to stand",
    default: Some("outbox.event.{aggregate_type}"),
    parse: filled,
};

pub(crate) static KEY: Key<String> = Key {
    name: "routing.key",
    takes: "a text, with {column} where a column's value is to stand",
    default: Some("{aggregate_id}"),
    parse: filled,
};

pub(crate) static WRITEBACK_ENABLED: Key<bool> =
    Key { name: "writeback.enabled", takes: "true or false", default: Some("true"), parse: Raw::flag };

pub(crate) static IN_FLIGHT_EVENTS: Key<usize> =
    Key { name: "limits.in_flight_events", takes: COUNT, default: Some("10000"), parse: Raw::count };

pub(crate) static IN_FLIGHT_BYTES: Key<usize> = Key {
    name: "limits.in_flight_bytes",
    takes: "a size of at least 1 byte, such as 16MiB",
    default: Some("16MiB"),
    parse: Raw::size_bytes,
};

pub(crate) static LOG_FORMAT: Key<String> = Key {
    name: "log.format",
    takes: "text or json",
    default: Some("text"),
    parse: |raw| one_of(raw, &["text", "json"]),
};

pub(crate) static LOG_LEVEL: Key<String> = Key {
    name: "log.level",
    takes: "error, warn, info, debug, trace or off, also for a part alone, such as info,wal_reader=debug",
    default: Some("info"),
    parse: |raw| filled(raw).filter(|text| is_filter(text)),
};

pub(crate) static RECEIPTS_ENABLED: Key<bool> =
    Key { name: "receipts.enabled", takes: "true or false", default: Some("true"), parse: Raw::flag };

pub(crate) static RECEIPTS_GROUP: Key<String> =
    Key { name: "receipts.group", takes: "a consumer group's name", default: Some("outbox"), parse: filled };

pub(crate) static RECEIPTS_FOLLOW: Key<Vec<String>> = Key {
    name: "receipts.follow",
    takes: "consumer groups' names, separated by commas",
    default: Some(""),
    parse: Raw::list,
};

pub(crate) static INIT_AFTER: Key<Duration> =
    Key { name: "reconcile.init_after", takes: DURATION, default: Some("1m"), parse: Raw::duration };

pub(crate) static PUBLISH_AFTER: Key<Duration> =
    Key { name: "reconcile.publish_after", takes: DURATION, default: Some("5m"), parse: Raw::duration };

pub(crate) static ATTEMPTS_MAX: Key<usize> =
    Key { name: "reconcile.attempts_max", takes: COUNT, default: None, parse: Raw::count };

pub(crate) static FAILURE_POLICY: Key<String> = Key {
    name: "failure.policy",
    takes: "park, hold or stop",
    default: Some("park"),
    parse: |raw| one_of(raw, &["park", "hold", "stop"]),
};

pub(crate) static DEAD_LETTER_TOPIC: Key<String> = Key {
    name: "failure.dead_letter_topic",
    takes: "a topic's name: 1 to 249 letters, digits, dots, underscores and hyphens",
    default: None,
    parse: topic_name,
};

pub(crate) static COMPLETE_AFTER: Key<Duration> =
    Key { name: "retention.complete_after", takes: DURATION, default: None, parse: Raw::duration };

static HTTP_LISTEN: Key<SocketAddr> = Key {
    name: "http.listen",
    takes: "an address and a port, such as 127.0.0.1:9464",
    default: Some("127.0.0.1:9464"),
    parse: |raw| raw.text()?.trim().parse().ok(),
};

/// The columns' names, in the order of [`COLUMN_ROLES`].
pub(crate) static COLUMNS: LazyLock<[Key<String>; COLUMN_ROLES.len()]> = LazyLock::new(|| {
    COLUMN_ROLES.map(|role| Key {
        name: role.config_key,
        takes: IDENTIFIER,
        default: Some(role.key),
        parse: identifier,
    })
});

const COUNT: &str = "a number of at least 1";
const DURATION: &str = "a time such as 30s, 5m or 30d";
const IDENTIFIER: &str = "a name of 1 to 63 bytes, as the catalog has it: without quotes, case counts";

/// PostgreSQL's own rule for a slot's name (documentation, "pg_create_logical_replication_slot" and
/// `ReplicationSlotValidateName`).
fn slot_name(raw: &Raw) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    identifier(raw).filter(|name| name.bytes().all(allowed))
}

/// PostgreSQL cuts a longer name off silently (documentation, "Identifiers and Key Words"), so that it
/// would not be the one that was asked for.
fn identifier(raw: &Raw) -> Option<String> {
    const BYTES_MAX: usize = 63;
    filled(raw).filter(|name| name.len() <= BYTES_MAX && !name.contains('\0'))
}

fn filled(raw: &Raw) -> Option<String> {
    raw.text().filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

fn one_of(raw: &Raw, choices: &[&str]) -> Option<String> {
    let text = raw.text()?.trim();
    choices.contains(&text).then(|| text.to_owned())
}

fn is_broker(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host = match host.strip_prefix('[') {
        Some(address) => {
            address.strip_suffix(']').filter(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
        }
        None => Some(host).filter(|host| is_host_name(host)),
    };
    host.is_some() && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Letters, digits, dots, hyphens, and the underscores that container networks use.
pub(crate) fn is_host_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

fn topic_name(raw: &Raw) -> Option<String> {
    const BYTES_MAX: usize = 249;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let name = filled(raw)?;
    let good = name.len() <= BYTES_MAX && name.bytes().all(allowed) && name != "." && name != "..";
    good.then_some(name)
}
