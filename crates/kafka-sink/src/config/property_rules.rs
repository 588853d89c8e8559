//! Which librdkafka properties cannot be the user's, and why.

/// Properties with a second name, by that (librdkafka's CONFIGURATION.md, "Alias for").
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

/// Why a property, by its first name, cannot have the value; `None` where it is the user's choice.
pub(crate) fn objection(name: &str, value: &str) -> Option<&'static str> {
    let value = value.trim();
    let is = |word: &str| value.eq_ignore_ascii_case(word);
    let number = value.parse::<i64>().ok();
    let (fine, reason) = match name {
        "metadata.broker.list" => (false, "is kafka.brokers; set it there"),
        "request.required.acks" => (
            is("all") || number == Some(-1),
            "takes all (or -1): a record that not every in-sync replica has can be lost after it was marked PUBLISH",
        ),
        "enable.idempotence" => (
            ["true", "t", "1"].into_iter().any(is),
            "takes true: without it a retry can store a record twice or out of order",
        ),
        "enable.gapless.guarantee" => (
            ["true", "t", "1"].into_iter().any(is),
            "takes true: without it, records behind one that the broker refused are stored, and overtake it",
        ),
        "partitioner" => (
            is("murmur2_random") || is("murmur2"),
            "takes murmur2_random or murmur2: with another, a key's records and those of a Java producer part ways",
        ),
        "max.in.flight.requests.per.connection" => (
            number.is_some_and(|n| (1..=5).contains(&n)),
            "takes 1 to 5: the broker keeps the order of no more requests than that",
        ),
        "message.timeout.ms" => (
            number == Some(0),
            "takes 0 (no end): a record given up by time would be lost, or overtaken by a later one of its key",
        ),
        "message.send.max.retries" => (
            number == Some(i64::from(i32::MAX)),
            "takes 2147483647 (no end): a record given up after some tries would be lost, or overtaken by a later one of its key",
        ),
        "transactional.id" => (
            false,
            "cannot be set: Postrider publishes outside Kafka transactions, and consumers would wait for their end",
        ),
        "delivery.report.only.error" => (
            ["false", "f", "0"].into_iter().any(is),
            "takes false: a record is marked PUBLISH, and the slot confirmed, by its delivery report",
        ),
        "queuing.strategy" => (is("fifo"), "takes fifo: the order of a key is that of its commits"),
        "test.mock.num.brokers" => (
            number == Some(0),
            "cannot be set: records would go to brokers that do not exist and be marked PUBLISH",
        ),
        "enabled_events" => (false, "cannot be set: it decides whether delivery reports come at all"),
        _ => return None,
    };
    (!fine).then_some(reason)
}

/// Whether a property's value is a secret: what librdkafka itself hides, and what is named like one.
pub(crate) fn is_secret(name: &str) -> bool {
    ["password", "secret", ".pem", "private.key", "ssl.key", "passphrase", "sasl.username"]
        .into_iter()
        .any(|part| name.contains(part))
        || matches!(name, "sasl.oauthbearer.config" | "ssl_key" | "ssl_ca" | "ssl_certificate")
}
