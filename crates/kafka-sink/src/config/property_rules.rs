//! Properties of librdkafka that are not the user's choice.

/// Aliases and the property of each (librdkafka's CONFIGURATION.md, "Alias for").
pub(crate) const ALIASES: [(&str, &str); 11] = [
    ("acks", "request.required.acks"),
    ("bootstrap.servers", "metadata.broker.list"),
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("enable.auto.commit", "auto.commit.enable"),
    ("linger.ms", "queue.buffering.max.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("retries", "message.send.max.retries"),
    ("sasl.mechanism", "sasl.mechanisms"),
    ("sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.id"),
    ("sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.secret"),
];

/// Why a property, named without an alias, cannot have the value; `None` if the value is allowed.
pub(crate) fn objection(name: &str, value: &str) -> Option<&'static str> {
    let value = value.trim();
    let is = |word: &str| value.eq_ignore_ascii_case(word);
    let number = value.parse::<i64>().ok();
    let (fine, reason) = match name {
        "metadata.broker.list" => (false, "is kafka.brokers; set it there"),
        "request.required.acks" => (
            is("all") || number == Some(-1),
            "takes all (or -1): a record that is not on every in-sync replica can be lost after its row became PUBLISH",
        ),
        "enable.idempotence" => (
            ["true", "t", "1"].into_iter().any(is),
            "takes true: without it a retry can store a record twice or out of order",
        ),
        "enable.gapless.guarantee" => (
            ["true", "t", "1"].into_iter().any(is),
            "takes true: otherwise records behind a rejected one are stored and overtake it",
        ),
        "partitioner" => (
            is("murmur2_random") || is("murmur2"),
            "takes murmur2_random or murmur2: another partitioner sends a key to another partition than a Java producer",
        ),
        "max.in.flight.requests.per.connection" => (
            number.is_some_and(|n| (1..=5).contains(&n)),
            "takes 1 to 5: the broker preserves the order of at most 5 requests",
        ),
        "message.timeout.ms" => (
            number == Some(0),
            "takes 0 (no timeout): a record that timed out would be lost, or overtaken by a later one of its key",
        ),
        "message.send.max.retries" => (
            number == Some(i64::from(i32::MAX)),
            "takes 2147483647 (no limit): a record whose retries are exhausted would be lost, or overtaken by a later one of its key",
        ),
        "transactional.id" => (
            false,
            "cannot be set: Postrider publishes outside transactions, and consumers would wait for a commit",
        ),
        "delivery.report.only.error" => (
            ["false", "f", "0"].into_iter().any(is),
            "takes false: the delivery report of a record makes its row PUBLISH and confirms the slot",
        ),
        "queuing.strategy" => (is("fifo"), "takes fifo: the records of a key are published in commit order"),
        "test.mock.num.brokers" => (
            number == Some(0),
            "cannot be set: records would go to simulated brokers, and their rows would become PUBLISH",
        ),
        "enabled_events" => (false, "cannot be set: delivery reports depend on it"),
        _ => return None,
    };
    (!fine).then_some(reason)
}

/// Whether a property's value is a secret: those that librdkafka hides, and those named like one.
pub(crate) fn is_secret(name: &str) -> bool {
    ["password", "secret", ".pem", "private.key", "ssl.key", "passphrase", "sasl.username"]
        .into_iter()
        .any(|part| name.contains(part))
        || matches!(name, "sasl.oauthbearer.config" | "ssl_key" | "ssl_ca" | "ssl_certificate")
}
