use crate::postrider::Place;

#[test]
fn a_bad_configuration_exits_64_with_all_of_its_problems() {
    let place = Place::new()
        .file("postrider.toml", "[postgres]\nslott = 'x'\n[limits]\nin_flight_events = 0\n")
        .variable("POSTRIDER_POSTGRES_URL", "postgres://u:hunter2@db:x/shop")
        .variable("POSTRIDER_LOG_FORMAT", "yaml")
        .variable("POSTRIDER_KAFKA_PROPERTIES_ACKS", "1")
        .variable("POSTRIDER_KAFKA_PROPERTIES_SASL_PASSWORD", "hunter2")
        .variable("POSTRIDER_KAFKA_BROKER", "kafka:9092");
    for command in [&["run"][..], &["init"], &["init", "--dry-run"]] {
        let run = place.run(command);
        assert_eq!((run.code, run.out.as_str()), (Some(64), ""), "{}", run.err);
        for expected in [
            "the configuration has 6 problems:\n",
            "postgres.slott: unknown key; did you mean postgres.slot?\n",
            "limits.in_flight_events: expected an integer of at least 1, got 0\n",
            "postgres.url (POSTRIDER_POSTGRES_URL): has a port that is no number",
            "log.format (POSTRIDER_LOG_FORMAT): expected text or json, got \"yaml\"\n",
            "kafka.properties.acks (POSTRIDER_KAFKA_PROPERTIES_ACKS): takes all",
            "kafka.brokers: is required",
            "POSTRIDER_KAFKA_BROKER is no known variable; did you mean POSTRIDER_KAFKA_BROKERS?",
        ] {
            assert!(run.err.contains(expected), "{expected}: {}", run.err);
        }
        assert!(!run.err.contains("hunter2"), "{}", run.err);
    }
}

#[test]
fn the_file_is_named_found_or_absent() {
    let place =
        Place::new().file("postrider.toml", "a = 1").file("other.toml", "b = 1").file("third.toml", "c = 1");
    let place = place.variable("POSTRIDER_CONFIG", "third.toml");
    assert!(place.run(&["init"]).err.contains("\n  c: unknown key"));
    assert!(place.run(&["--config", "other.toml", "init"]).err.contains("\n  b: unknown key"));
    assert!(place.run(&["init", "--config", "other.toml"]).err.contains("\n  b: unknown key"));
    let place = place.variable("POSTRIDER_CONFIG", "");
    assert!(place.run(&["init"]).err.contains("\n  a: unknown key"));
    let missing = place.run(&["--config", "absent.toml", "run"]);
    assert_eq!(missing.code, Some(64));
    assert!(missing.err.contains("absent.toml: the configuration file cannot be read: "), "{}", missing.err);
}

#[test]
fn a_server_that_cannot_be_reached_is_said_and_the_password_is_not() {
    // Nothing listens on port 1 of the loopback.
    let place = Place::for_url("postgres://shop:hunter2@127.0.0.1:1/shop")
        .variable("RUST_LOG", "trace")
        .variable("POSTRIDER_LOG_LEVEL", "trace")
        .variable("POSTRIDER_KAFKA_PROPERTIES_SASL_PASSWORD", "hunter2")
        .variable("POSTRIDER_HTTP_LISTEN", "127.0.0.1:1");
    let run = place.run(&["init"]);
    assert_eq!((run.code, run.out.as_str()), (Some(1), ""));
    assert!(run.err.contains("connecting to PostgreSQL"), "{}", run.err);
    assert!(run.err.contains("http.listen has no effect in this version"), "{}", run.err);
    assert!(!run.err.contains("hunter2"), "{}", run.err);
}

#[test]
fn a_json_log_is_one_object_a_line() {
    let place = Place::for_url("postgres://shop@127.0.0.1:1/shop").variable("POSTRIDER_LOG_FORMAT", "json");
    let run = place.run(&["init"]);
    assert!(!run.err.is_empty());
    for line in run.err.lines() {
        assert!(line.starts_with("{\"timestamp\":") && line.ends_with('}'), "{line}");
    }
}
