//! The producer's configuration: defaults, the user's properties, and the checks of both.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;

use crate::config::noop_context::NoopContext;
use crate::config::property_rules::{ALIASES, is_secret, objection};

/// The defaults, where they differ from librdkafka's.
const DEFAULTS: [(&str, &str); 17] = [
    ("enable.idempotence", "true"),
    // Makes a rejected record fatal to the producer. Without it, later records, also of its key, would be stored while
    // the row is FAILED.
    ("enable.gapless.guarantee", "true"),
    ("request.required.acks", "all"),
    // The partitioner of a Java producer for records with a key.
    ("partitioner", "murmur2_random"),
    // No timeout, for outages of any length: a record that timed out would be lost or overtaken.
    ("message.timeout.ms", "0"),
    // Fills batches under load and adds little latency.
    ("queue.buffering.max.ms", "5"),
    ("client.id", "postrider"),
    // The limit of the brokers and the topic applies, not the producer's. But a broker closes the connection at a
    // request above its socket.request.max.bytes (100 MiB by default) without an answer, which looks like an outage
    // and would be retried forever.
    ("message.max.bytes", "100000000"),
    // Brokers reject a whole batch as too large, and librdkafka does not split it. With batches well below the usual
    // max.message.bytes (1 MiB by default), a record above the limit is alone in its batch, so that the rejected record
    // is known. Five such batches on the wire per broker still carry some 100 MB/s at 5 ms.
    ("batch.size", "131072"),
    // The relay bounds the records in flight far below these limits. The bytes are above message.max.bytes, so that the
    // largest record fits an empty queue.
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "131072"),
    // Reconnects within seconds (librdkafka's default: 10 s).
    ("reconnect.backoff.ms", "100"),
    ("reconnect.backoff.max.ms", "2000"),
    // A broker that was fenced can answer a metadata request with an empty list of brokers. librdkafka then knows no
    // broker and returns to bootstrap.servers after this time (its default: 5 min).
    ("metadata.recovery.rebootstrap.trigger.ms", "10000"),
    // An outbox may be idle for longer than a firewall keeps an idle connection.
    ("socket.keepalive.enable", "true"),
    // The broker creates a missing topic, if it is configured to.
    ("allow.auto.create.topics", "true"),
    ("statistics.interval.ms", "0"),
];

/// A problem of a configuration key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyProblem {
    /// The key's full name: `kafka.brokers`, `kafka.properties.acks`.
    pub key: String,
    /// What is wrong, and what the key accepts. Never contains a secret.
    pub reason: String,
}

impl fmt::Display for PropertyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

impl PropertyProblem {
    fn brokers(reason: &str) -> Self {
        PropertyProblem { key: "kafka.brokers".to_owned(), reason: reason.to_owned() }
    }

    fn property(name: &str, reason: impl Into<String>) -> Self {
        PropertyProblem { key: format!("kafka.properties.{name}"), reason: reason.into() }
    }
}

/// The producer's configuration from `[kafka]`: `brokers`, and librdkafka's properties (librdkafka's CONFIGURATION.md),
/// aliases included.
///
/// # Errors
///
/// All problems: settings that would break a guarantee, properties unknown to librdkafka, values that it rejects; and if
/// there are none of these, the first problem of the whole configuration, such as a file that cannot be read.
pub fn client_config(
    brokers: &str,
    properties: &BTreeMap<String, String>,
) -> Result<ClientConfig, Vec<PropertyProblem>> {
    let mut problems = Vec::new();
    problems.extend(brokers_problem(brokers).map(PropertyProblem::brokers));
    let mut config = ClientConfig::new();
    for (name, value) in DEFAULTS {
        config.set(name, value);
    }
    for (name, value) in properties {
        let canonical = canonical(name);
        if canonical != name && properties.contains_key(canonical) {
            problems
                .push(PropertyProblem::property(name, format!("is another name of {canonical}; set one")));
        } else if let Some(reason) = objection(canonical, value) {
            problems.push(PropertyProblem::property(name, reason));
        } else if let Err(error) = ClientConfig::new().set(name, value).create_native_config() {
            problems.push(PropertyProblem::property(name, value_problem(name, value, &error)));
        }
        config.set(canonical, value);
    }
    config.set_log_level(log_level(properties));
    if problems.is_empty() {
        problems.extend(whole_config_problem(&config, properties));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    config.set("metadata.broker.list", brokers);
    Ok(config)
}

fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, canonical)| canonical)
}

fn brokers_problem(brokers: &str) -> Option<&'static str> {
    const TAKES: &str = "takes host:port, and more of them after commas";
    let is_broker = |broker: &str| {
        // A listener name may precede the host.
        let address = broker.split_once("://").map_or(broker, |(_, address)| address);
        let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
        };
        !host.is_empty() && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    let fine = brokers.split(',').all(|broker| is_broker(broker.trim()));
    (!fine).then_some(TAKES)
}

/// librdkafka's error for a value. It quotes the value, which is hidden if it is a secret.
fn value_problem(name: &str, value: &str, error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, error, ..) if !is_secret(name) || !error.contains(value) => error.clone(),
        KafkaError::ClientConfig(..) => "librdkafka rejects this value".to_owned(),
        _ => "contains a NUL byte".to_owned(),
    }
}

/// librdkafka's error for the whole configuration. The producer gets no brokers, so that it does not connect.
fn whole_config_problem(
    config: &ClientConfig,
    properties: &BTreeMap<String, String>,
) -> Option<PropertyProblem> {
    let producer = config.create_with_context::<_, BaseProducer<NoopContext>>(NoopContext);
    let reason = match producer {
        Ok(_) => return None,
        Err(KafkaError::ClientCreation(reason)) => reason,
        Err(error) => error.to_string(),
    };
    let named =
        properties.keys().filter(|name| reason.contains(&format!("`{name}`"))).max_by_key(|n| n.len());
    let hides_secret = properties.iter().any(|(name, value)| is_secret(name) && reason.contains(value));
    let reason = if hides_secret { "librdkafka rejects these values".to_owned() } else { reason };
    Some(match named {
        Some(name) => PropertyProblem::property(name, reason),
        None => PropertyProblem { key: "kafka.properties".to_owned(), reason },
    })
}

fn log_level(properties: &BTreeMap<String, String>) -> RDKafkaLogLevel {
    if properties.get("debug").is_some_and(|contexts| !contexts.is_empty()) {
        return RDKafkaLogLevel::Debug;
    }
    match properties.get("log_level").map(|level| level.trim()) {
        Some("0") => RDKafkaLogLevel::Emerg,
        Some("1") => RDKafkaLogLevel::Alert,
        Some("2") => RDKafkaLogLevel::Critical,
        Some("3") => RDKafkaLogLevel::Error,
        Some("4") => RDKafkaLogLevel::Warning,
        Some("5") => RDKafkaLogLevel::Notice,
        Some("7") => RDKafkaLogLevel::Debug,
        _ => RDKafkaLogLevel::Info,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(properties: &[(&str, &str)]) -> Result<ClientConfig, Vec<PropertyProblem>> {
        let properties =
            properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        client_config("127.0.0.1:9092", &properties)
    }

    fn problem(name: &str, value: &str) -> PropertyProblem {
        let problems = config(&[(name, value)]).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems.into_iter().next().unwrap()
    }

    #[test]
    fn client_config_has_the_defaults() {
        let native = config(&[]).unwrap().create_native_config().unwrap();
        for (name, value) in
            [("enable.idempotence", "true"), ("message.timeout.ms", "0"), ("partitioner", "murmur2_random")]
        {
            assert_eq!(native.get(name).unwrap(), value);
        }
        assert_eq!(native.get("acks").unwrap(), "-1");
        assert_eq!(native.get("bootstrap.servers").unwrap(), "127.0.0.1:9092");
    }

    #[test]
    fn client_config_passes_properties_through() {
        let config = config(&[
            ("linger.ms", "20"),
            ("compression.type", "zstd"),
            ("acks", "-1"),
            ("client.id", "mine"),
            ("max.in.flight", "5"),
            ("delivery.timeout.ms", "0"),
            ("retries", "2147483647"),
        ])
        .unwrap();
        let native = config.create_native_config().unwrap();
        assert_eq!(native.get("queue.buffering.max.ms").unwrap(), "20");
        assert_eq!(native.get("compression.codec").unwrap(), "zstd");
        assert_eq!(native.get("client.id").unwrap(), "mine");
    }

    #[test]
    fn client_config_rejects_properties_that_break_a_guarantee() {
        for (name, value) in [
            ("acks", "1"),
            ("acks", "0"),
            ("request.required.acks", "2"),
            ("enable.idempotence", "false"),
            ("enable.idempotence", "F"),
            ("partitioner", "consistent"),
            ("partitioner", "random"),
            ("max.in.flight", "6"),
            ("max.in.flight.requests.per.connection", "1000000"),
            ("message.timeout.ms", "300000"),
            ("delivery.timeout.ms", "1"),
            ("retries", "0"),
            ("message.send.max.retries", "10"),
            ("transactional.id", "x"),
            ("bootstrap.servers", "kafka:9092"),
            ("metadata.broker.list", "kafka:9092"),
            ("delivery.report.only.error", "true"),
            ("queuing.strategy", "lifo"),
            ("enable.gapless.guarantee", "false"),
            ("test.mock.num.brokers", "3"),
        ] {
            let problem = problem(name, value);
            assert_eq!(problem.key, format!("kafka.properties.{name}"));
            assert!(problem.reason.len() > 20, "{problem}");
        }
    }

    #[test]
    fn client_config_returns_all_problems() {
        let properties = BTreeMap::from(
            [("acks", "1"), ("linger.ms", "soon"), ("no.such.thing", "1")]
                .map(|(n, v)| (n.to_owned(), v.to_owned())),
        );
        let problems = client_config("", &properties).unwrap_err();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "kafka.brokers",
                "kafka.properties.acks",
                "kafka.properties.linger.ms",
                "kafka.properties.no.such.thing"
            ]
        );
        assert!(problems[3].reason.contains("No such configuration property"), "{}", problems[3]);
    }

    #[test]
    fn client_config_rejects_a_property_under_two_names() {
        let problems = config(&[("linger.ms", "1"), ("queue.buffering.max.ms", "2")]).unwrap_err();
        assert_eq!(problems[0].key, "kafka.properties.linger.ms");
    }

    #[test]
    fn client_config_names_the_property_of_a_whole_config_problem() {
        let properties = [("security.protocol", "ssl"), ("ssl.ca.location", "/no/such/file.pem")];
        let problems = config(&properties).unwrap_err();
        assert!(problems[0].reason.contains("ssl.ca.location"), "{problems:?}");
        let problems =
            config(&[("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "NOPE")]).unwrap_err();
        assert!(problems[0].key.starts_with("kafka.properties"), "{problems:?}");
    }

    #[test]
    fn problems_never_contain_a_secret() {
        const SECRET: &str = "hunter2-hunter2";
        let mut count = 0;
        for name in [
            "ssl.key.pem",
            "ssl.key.password",
            "ssl.certificate.pem",
            "ssl.ca.pem",
            "ssl.keystore.password",
            "sasl.password",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.client.secret",
            "no.such.password",
        ] {
            let properties = [(name, SECRET), ("security.protocol", "sasl_ssl"), ("sasl.mechanism", "NOPE")];
            let problems = config(&properties).unwrap_err();
            assert!(!format!("{problems:?}").contains(SECRET), "{problems:?}");
            count += problems.len();
        }
        assert!(count >= 9, "{count}");
    }

    #[test]
    fn brokers_takes_hosts_with_ports() {
        for brokers in ["kafka", "kafka:9092", "a:1, b:2", "SSL://k:9093", "[::1]:9092", "127.0.0.1:65535"] {
            assert_eq!(brokers_problem(brokers), None, "{brokers}");
        }
        for brokers in ["", ",", "a:1,", ":9092", "a:", "a:port", "a:0", "a:70000"] {
            assert!(brokers_problem(brokers).is_some(), "{brokers}");
        }
    }
}
