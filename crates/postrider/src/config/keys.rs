//! The table of all configuration keys, with their defaults and accepted values.
//!
//! The parser, the suggestions for unknown keys, and the tests of `postrider.example.toml` and
//! `docs/configuration.md` read it.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use outbox::{COLUMN_ROLES, TableName};

use crate::config::address::{is_broker, is_topic};
use crate::config::key::{AnyKey, ConfigKey};
use crate::config::sections::log_filter::is_filter;
use crate::config::settings::raw_value::RawValue;

/// The keys in use, without those of `[columns]`.
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

/// The keys of features that do not exist yet: validated, and warned about if set. The change that adds the feature
/// moves its key to [`READ`].
pub(crate) static WITHOUT_EFFECT: &[&dyn AnyKey] = &[&SLOT_LOST, &HTTP_LISTEN];

/// The section of the librdkafka properties, where every name is a key.
pub(crate) const PROPERTIES: &str = "kafka.properties";

/// The secret keys, which may also be given as `…_file`; librdkafka properties come on top.
pub(crate) const SECRETS: &[&str] = &[URL.name];

/// Every key, without the librdkafka properties.
pub(crate) fn all() -> impl Iterator<Item = &'static dyn AnyKey> {
    let columns = COLUMNS.iter().map(|key| key as &dyn AnyKey);
    READ.iter().copied().chain(columns).chain(WITHOUT_EFFECT.iter().copied())
}

pub(crate) static URL: ConfigKey<String> = ConfigKey {
    name: "postgres.url",
    expected: "a URL such as postgres://user:password@host:5432/database, or \
               host=… user=… password=… dbname=…",
    default: None,
    parse: |raw| raw.text().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned),
};

pub(crate) static SLOT: ConfigKey<String> = ConfigKey {
    name: "postgres.slot",
    expected: "1 to 63 lower-case letters, digits and underscores",
    default: Some("postrider"),
    parse: slot_name,
};

pub(crate) static PUBLICATION: ConfigKey<String> = ConfigKey {
    name: "postgres.publication",
    expected: IDENTIFIER,
    default: Some("postrider"),
    parse: identifier,
};

pub(crate) static TABLE: ConfigKey<TableName> = ConfigKey {
    name: "postgres.table",
    expected: "a table name such as public.outbox, with double quotes around a part that contains a dot",
    default: Some("public.outbox"),
    parse: |raw| raw.text()?.trim().parse().ok(),
};

pub(crate) static SLOT_LOST: ConfigKey<String> = ConfigKey {
    name: "postgres.slot_lost",
    expected: "recover or stop",
    default: Some("recover"),
    parse: |raw| one_of(raw, &["recover", "stop"]),
};

pub(crate) static BROKERS: ConfigKey<Vec<String>> = ConfigKey {
    name: "kafka.brokers",
    expected: "one or more host:port, separated by commas",
    default: None,
    parse: |raw| raw.list().filter(|list| !list.is_empty() && list.iter().all(|text| is_broker(text))),
};

pub(crate) static TOPIC: ConfigKey<String> = ConfigKey {
    name: "routing.topic",
    expected: "a topic name, in which {column} stands for the value of a column",
    default: Some("outbox.event.{aggregate_type}"),
    parse: filled,
};

pub(crate) static KEY: ConfigKey<String> = ConfigKey {
    name: "routing.key",
    expected: "text, in which {column} stands for the value of a column",
    default: Some("{aggregate_id}"),
    parse: filled,
};

pub(crate) static WRITEBACK_ENABLED: ConfigKey<bool> = ConfigKey {
    name: "writeback.enabled",
    expected: "true or false",
    default: Some("true"),
    parse: RawValue::flag,
};

pub(crate) static IN_FLIGHT_EVENTS: ConfigKey<usize> = ConfigKey {
    name: "limits.in_flight_events",
    expected: COUNT,
    default: Some("10000"),
    parse: RawValue::count,
};

pub(crate) static IN_FLIGHT_BYTES: ConfigKey<usize> = ConfigKey {
    name: "limits.in_flight_bytes",
    expected: "a size of at least 1 byte, such as 16MiB",
    default: Some("16MiB"),
    parse: RawValue::size_bytes,
};

pub(crate) static LOG_FORMAT: ConfigKey<String> = ConfigKey {
    name: "log.format",
    expected: "text or json",
    default: Some("text"),
    parse: |raw| one_of(raw, &["text", "json"]),
};

pub(crate) static LOG_LEVEL: ConfigKey<String> = ConfigKey {
    name: "log.level",
    expected: "error, warn, info, debug, trace or off, optionally per module, such as info,wal_reader=debug",
    default: Some("info"),
    parse: |raw| filled(raw).filter(|text| is_filter(text)),
};

pub(crate) static RECEIPTS_ENABLED: ConfigKey<bool> = ConfigKey {
    name: "receipts.enabled",
    expected: "true or false",
    default: Some("true"),
    parse: RawValue::flag,
};

pub(crate) static RECEIPTS_GROUP: ConfigKey<String> = ConfigKey {
    name: "receipts.group",
    expected: "the name of a consumer group",
    default: Some("outbox"),
    parse: filled,
};

pub(crate) static RECEIPTS_FOLLOW: ConfigKey<Vec<String>> = ConfigKey {
    name: "receipts.follow",
    expected: "names of consumer groups, separated by commas",
    default: Some(""),
    parse: RawValue::list,
};

pub(crate) static INIT_AFTER: ConfigKey<Duration> = ConfigKey {
    name: "reconcile.init_after",
    expected: DURATION,
    default: Some("1m"),
    parse: RawValue::duration,
};

pub(crate) static PUBLISH_AFTER: ConfigKey<Duration> = ConfigKey {
    name: "reconcile.publish_after",
    expected: DURATION,
    default: Some("5m"),
    parse: RawValue::duration,
};

pub(crate) static ATTEMPTS_MAX: ConfigKey<usize> =
    ConfigKey { name: "reconcile.attempts_max", expected: COUNT, default: None, parse: RawValue::count };

pub(crate) static FAILURE_POLICY: ConfigKey<String> = ConfigKey {
    name: "failure.policy",
    expected: "park, hold or stop",
    default: Some("park"),
    parse: |raw| one_of(raw, &["park", "hold", "stop"]),
};

pub(crate) static DEAD_LETTER_TOPIC: ConfigKey<String> = ConfigKey {
    name: "failure.dead_letter_topic",
    expected: "a topic name of 1 to 249 letters, digits, dots, underscores and hyphens",
    default: None,
    parse: |raw| filled(raw).filter(|name| is_topic(name)),
};

pub(crate) static COMPLETE_AFTER: ConfigKey<Duration> = ConfigKey {
    name: "retention.complete_after",
    expected: DURATION,
    default: None,
    parse: RawValue::duration,
};

static HTTP_LISTEN: ConfigKey<SocketAddr> = ConfigKey {
    name: "http.listen",
    expected: "an address and a port, such as 127.0.0.1:9464",
    default: Some("127.0.0.1:9464"),
    parse: |raw| raw.text()?.trim().parse().ok(),
};

/// The column names, in the order of [`COLUMN_ROLES`].
pub(crate) static COLUMNS: LazyLock<[ConfigKey<String>; COLUMN_ROLES.len()]> = LazyLock::new(|| {
    COLUMN_ROLES.map(|role| ConfigKey {
        name: role.config_key,
        expected: IDENTIFIER,
        default: Some(role.key),
        parse: identifier,
    })
});

const COUNT: &str = "an integer of at least 1";
const DURATION: &str = "a duration such as 30s, 5m or 30d";
const IDENTIFIER: &str =
    "a name of 1 to 63 bytes, case-sensitive and without quotes, as in the system catalogs";

/// PostgreSQL's rule for slot names (`ReplicationSlotValidateName`).
fn slot_name(raw: &RawValue) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    identifier(raw).filter(|name| name.bytes().all(allowed))
}

/// PostgreSQL silently truncates longer names (documentation, "Identifiers and Key Words").
fn identifier(raw: &RawValue) -> Option<String> {
    const BYTES_MAX: usize = 63;
    filled(raw).filter(|name| name.len() <= BYTES_MAX && !name.contains('\0'))
}

/// Text that is not blank.
fn filled(raw: &RawValue) -> Option<String> {
    raw.text().filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

fn one_of(raw: &RawValue, choices: &[&str]) -> Option<String> {
    let text = raw.text()?.trim();
    choices.contains(&text).then(|| text.to_owned())
}
