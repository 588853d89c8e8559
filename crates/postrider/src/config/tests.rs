use std::path::PathBuf;
use std::time::Duration;

use outbox::InFlightLimits;
use proptest::prelude::*;

use crate::config::fixture::{REQUIRED, source};
use crate::config::key::variable;
use crate::config::keys;
use crate::config::load::{Config, LoadedConfig};
use crate::config::problem::BadConfig;
use crate::config::sections::failure::{FailureConfig, Policy};
use crate::config::sections::log::LogFormat;

/// Loads with [`REQUIRED`] set.
fn load(toml: &str, variables: &[(&str, &str)]) -> Result<LoadedConfig, BadConfig> {
    let variables = [&REQUIRED[..], variables].concat();
    Config::load(&source(Some(toml), &variables, &[]))
}

/// The problems as they are printed.
fn problems(result: Result<LoadedConfig, BadConfig>) -> Vec<String> {
    result.expect_err("a bad configuration").problems.iter().map(ToString::to_string).collect()
}

fn good(toml: &str, variables: &[(&str, &str)]) -> Config {
    load(toml, variables).unwrap().config
}

#[test]
fn load_needs_only_the_required_keys() {
    let loaded = Config::load(&source(None, &REQUIRED, &[])).unwrap();
    let config = loaded.config;
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(config.postgres.connection.get_password(), Some(&b"hunter2"[..]));
    assert_eq!(
        (config.postgres.slot.as_str(), config.postgres.publication.as_str()),
        ("postrider", "postrider")
    );
    assert_eq!(config.postgres.table.to_string(), "public.outbox");
    assert_eq!(config.kafka.brokers, ["broker:9092"]);
    assert_eq!(config.limits, InFlightLimits { events_max: 10_000, bytes_max: 16 << 20 });
    assert_eq!((config.log.format, config.log.level.as_str()), (LogFormat::Text, "info"));
    assert!(config.writeback);
    assert_eq!(config.columns, outbox::Columns::default());
}

#[test]
fn load_reports_missing_required_keys() {
    let problems = problems(Config::load(&source(None, &[], &[])));
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[0].starts_with("postgres.url: is required; set it in the file or as POSTRIDER_POSTGRES_URL")
    );
    assert!(problems[1].starts_with("kafka.brokers: is required"));
}

#[test]
fn variable_overrides_file_unless_empty() {
    let toml =
        "[postgres]\nslot = 'a'\n[limits]\nin_flight_bytes = '1KiB'\n[kafka.properties]\n'linger.ms' = 1";
    let variables = [
        ("POSTRIDER_POSTGRES_SLOT", "b"),
        ("POSTRIDER_LIMITS_IN_FLIGHT_BYTES", ""),
        ("POSTRIDER_KAFKA_PROPERTIES_LINGER_MS", "2"),
    ];
    let config = good(toml, &variables);
    assert_eq!(config.postgres.slot, "b");
    assert_eq!(config.limits.bytes_max, 1024);
    assert_eq!(config.kafka.properties.0["linger.ms"], "2");
}

#[test]
fn load_reports_all_problems_with_key_and_expected_value() {
    let toml = "
        stray = 1
        routing = 'x'
        [postgres]
        url = 'postgres://u:hunter2@/x'
        slot = 'Upper'
        pubication = 'p'
        slot_lost = 'maybe'
        [kafka]
        brokers = ['broker']
        [limits]
        in_flight_events = 0
        in_flight_bytes = '0B'
        [writeback]
        enabled = 'yes'
        [columns]
        topic = 'id'
        [reconcile]
        init_after = '0s'
        [log]
        level = 'inof'
        [kafka.properties]
        'linger.ms' = 1.5
    ";
    let variables = [("POSTRIDER_LOG_FORMAT", "yaml"), ("POSTRIDER_HTTP_LISTEN", "nowhere")];
    let problems = problems(Config::load(&source(Some(toml), &variables, &[])));
    for expected in [
        "stray: unknown key; did you mean ",
        "routing: is a section; write [routing]",
        "postgres.url: names no host",
        "postgres.slot: expected 1 to 63 lower-case letters, digits and underscores, got \"Upper\"",
        "postgres.pubication: unknown key; did you mean postgres.publication?",
        "postgres.slot_lost: expected recover or stop, got \"maybe\"",
        "kafka.brokers: expected one or more host:port",
        "limits.in_flight_events: expected an integer of at least 1, got 0",
        "limits.in_flight_bytes: expected a size of at least 1 byte, such as 16MiB, got \"0B\"",
        "writeback.enabled: expected true or false, got \"yes\"",
        "columns.topic: column \"id\" is already used by columns.id",
        "reconcile.init_after: expected a duration such as 30s, 5m or 30d, got \"0s\"",
        "log.level: expected error, warn, info, debug, trace or off",
        "log.format (POSTRIDER_LOG_FORMAT): expected text or json, got \"yaml\"",
        "http.listen (POSTRIDER_HTTP_LISTEN): expected an address and a port, such as 127.0.0.1:9464, got \"nowhere\"",
        "kafka.properties.linger.ms: expected a string, an integer, true or false",
    ] {
        assert!(problems.iter().any(|problem| problem.starts_with(expected)), "{expected}: {problems:#?}");
    }
    assert_eq!(problems.len(), 16, "{problems:#?}");
}

#[test]
fn unknown_variable_is_a_warning_with_a_suggestion() {
    let loaded =
        load("", &[("POSTRIDER_POSTGRES_SLOTT", "x"), ("OTHER", "y"), ("POSTRIDER_CONFIG", "")]).unwrap();
    let expected = "POSTRIDER_POSTGRES_SLOTT is no known variable; did you mean POSTRIDER_POSTGRES_SLOT?";
    assert_eq!(loaded.warnings, [expected]);
}

#[test]
fn key_without_effect_is_a_warning_if_set() {
    let loaded = load("[postgres]\nslot_lost = 'stop'", &[("POSTRIDER_HTTP_LISTEN", "127.0.0.1:1")]).unwrap();
    let expected =
        ["postgres.slot_lost has no effect in this version", "http.listen has no effect in this version"];
    assert_eq!(loaded.warnings, expected);
}

#[test]
fn receipts_reconcile_failure_and_retention_are_read() {
    let variables =
        [("POSTRIDER_RECEIPTS_FOLLOW", "ecommerce,billing"), ("POSTRIDER_FAILURE_POLICY", "hold")];
    let config = load("[reconcile]\ninit_after = '3s'\nattempts_max = 4", &variables).unwrap().config;
    assert_eq!(config.receipts.follow, ["billing", "ecommerce"]);
    assert_eq!((config.receipts.enabled, config.receipts.group.as_str()), (true, "outbox"));
    assert_eq!(config.reconcile.init_after, Duration::from_secs(3));
    assert_eq!(config.reconcile.publish_after, Duration::from_secs(300));
    assert_eq!(config.reconcile.attempts_max, Some(4));
    assert_eq!(config.failure, FailureConfig { policy: Policy::Hold, dead_letter_topic: None });
    assert_eq!(config.retention.complete_after, None);
}

#[test]
fn receipts_follow_rejects_own_group() {
    let problems = problems(load("[receipts]\nfollow = ['outbox']", &[]));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("receipts.follow") && problems[0].contains("own group"), "{problems:?}");
}

#[test]
fn named_file_must_exist_but_default_file_need_not() {
    let mut missing = source(None, &REQUIRED, &[]);
    missing.file = Some(PathBuf::from("/etc/absent.toml"));
    let problem = "/etc/absent.toml: the configuration file cannot be read: entity not found";
    assert_eq!(problems(Config::load(&missing)), [problem]);
    let named = [&REQUIRED[..], &[("POSTRIDER_CONFIG", "/etc/absent.toml")]].concat();
    let found = problems(Config::load(&source(None, &named, &[])));
    assert_eq!(found, [problem.replace(".toml:", ".toml (POSTRIDER_CONFIG):")]);
}

#[test]
fn file_argument_overrides_variable_overrides_default_file() {
    let files = [("/a.toml", "[postgres]\nslot = 'a'"), ("/b.toml", "[postgres]\nslot = 'b'")];
    let variables = [&REQUIRED[..], &[("POSTRIDER_CONFIG", "/b.toml")]].concat();
    let mut both = source(Some("[postgres]\nslot = 'c'"), &variables, &files);
    assert_eq!(Config::load(&both).unwrap().config.postgres.slot, "b");
    both.file = Some(PathBuf::from("/a.toml"));
    assert_eq!(Config::load(&both).unwrap().config.postgres.slot, "a");
}

#[test]
fn invalid_toml_is_reported_by_position_without_content() {
    let toml = "[postgres]\nurl = \"postgres://u:hunter2@db/shop\" x\n";
    let problems = problems(Config::load(&source(Some(toml), &[("POSTRIDER_LOG_FORMAT", "yaml")], &[])));
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("postrider.toml: invalid TOML at line 2, column 38: "), "{problems:?}");
    assert!(!problems[0].contains("hunter2"));
}

#[test]
fn list_is_toml_array_or_comma_separated() {
    let brokers = |value: &str| {
        let variables = [REQUIRED[0], ("POSTRIDER_KAFKA_BROKERS", value)];
        Config::load(&source(None, &variables, &[])).map(|loaded| loaded.config.kafka.brokers)
    };
    assert_eq!(brokers("a:1, [::1]:2").unwrap(), ["a:1", "[::1]:2"]);
    for bad in ["a:1,", "a", "a:0", "a:99999", "a b:1", "u:p@a:1", "a:1,,b:2", "::1:2"] {
        assert!(brokers(bad).is_err(), "{bad}");
    }
    let toml = "[kafka]\nbrokers = ['a:1', 'b:2']";
    let config = Config::load(&source(Some(toml), &REQUIRED[..1], &[])).unwrap().config;
    assert_eq!(config.kafka.brokers, ["a:1", "b:2"]);
}

#[test]
fn property_may_be_dotted_quoted_or_a_variable() {
    for toml in
        ["[kafka.properties]\n'compression.type' = 'zstd'", "[kafka.properties]\ncompression.type = 'zstd'"]
    {
        assert_eq!(good(toml, &[]).kafka.properties.0["compression.type"], "zstd", "{toml}");
    }
    let config = good("", &[("POSTRIDER_KAFKA_PROPERTIES_COMPRESSION_TYPE", "zstd")]);
    assert_eq!(config.kafka.properties.0["compression.type"], "zstd");
    let twice = "[kafka.properties]\n'compression.type' = 'zstd'\ncompression.type = 'lz4'";
    assert_eq!(problems(load(twice, &[])), ["kafka.properties.compression.type: is set twice"]);
}

#[test]
fn secrets_may_be_read_from_files() {
    let files =
        [("/run/url", "postgres://u:fromfile@db/shop\n"), ("/run/kafka", "secret\r\n"), ("/run/empty", "\n")];
    let brokers = REQUIRED[1];
    let load = |toml: &str, variables: &[(&str, &str)]| {
        Config::load(&source(Some(toml), &[&[brokers], variables].concat(), &files))
    };
    let toml = "[postgres]\nurl_file = '/run/url'\n[kafka.properties]\n'sasl.password_file' = '/run/kafka'";
    let config = load(toml, &[]).unwrap().config;
    assert_eq!(config.postgres.connection.get_password(), Some(&b"fromfile"[..]));
    assert_eq!(config.kafka.properties.0["sasl.password"], "secret");

    let variables = [
        ("POSTRIDER_POSTGRES_URL_FILE", "/run/url"),
        ("POSTRIDER_KAFKA_PROPERTIES_SASL_PASSWORD_FILE", "/run/kafka"),
    ];
    let config = load("[postgres]\nurl = 'postgres://u:old@db/shop'", &variables).unwrap().config;
    assert_eq!(config.postgres.connection.get_password(), Some(&b"fromfile"[..]));
    assert_eq!(config.kafka.properties.0["sasl.password"], "secret");

    let config = load(toml, &[REQUIRED[0]]).unwrap().config;
    assert_eq!(config.postgres.connection.get_password(), Some(&b"hunter2"[..]));

    let found = problems(load("", &[REQUIRED[0], variables[0]]));
    let expected =
        "postgres.url (POSTRIDER_POSTGRES_URL): is set twice; set either this or postgres.url_file";
    assert_eq!(found, [expected]);
    let found = problems(load("[postgres]\nurl_file = '/run/empty'", &[]));
    assert_eq!(found, ["postgres.url (/run/empty): the file is empty"]);
    let found = problems(load("[postgres]\nurl_file = '/run/absent'", &[]));
    assert_eq!(found, ["postgres.url (/run/absent): the file cannot be read: entity not found"]);
}

#[test]
fn routing_template_may_use_other_columns() {
    let config = good("[routing]\ntopic = 'shop.{region}'\n[columns]\naggregate_id = 'order_id'", &[]);
    assert_eq!(config.columns.aggregate_id, "order_id");
    assert_eq!(config.columns.others, ["region"]);
}

#[test]
fn default_templates_use_mapped_columns() {
    let config = good("[columns]\naggregate_id = 'order_id'\naggregate_type = 'kind'", &[]);
    assert_eq!(
        (config.routing.topic.as_str(), config.routing.key.as_str()),
        ("outbox.event.{kind}", "{order_id}")
    );
    assert_eq!(config.columns.others, Vec::<String>::new());
}

#[test]
fn secrets_never_appear_in_debug_or_errors() {
    let password = "[kafka.properties]\n'sasl.password' = 'hunter2'\n'ssl.key.password' = 'hunter2'";
    let loaded = load(password, &[]).unwrap();
    assert!(!format!("{loaded:?}").contains("hunter2"), "{loaded:?}");
    for url in [
        "postgres://u:hunter2@/shop",
        "postgres://u:hunter2@db:x/shop",
        "postgres://u:hunter2@db:hunter2/shop",
        "postgres://u:hunter2@db/shop?hunter2=x",
        "postgres://u:hunter2@db/shop?sslmode=hunter2",
        "postgres://u:hunter2@db/shop?sslrootcert=/absent",
        "postgres://u:hunter2@db/shop?sslmode=verify-full",
        "postgres://u:hunter2@db/shop?port=hunter2",
        "postgres://u:x@hunter2@db/shop",
        "postgres://u:x@hunter2/@db/shop",
        "postgres://u:hunter2@db/shop?sslpassword=hunter2&sslcert=/absent",
        "postgres://u:x y hunter2!@db/shop",
        "host=db user=u password=hunter2 sslmode=x",
        "host=db user=u password=a hunter2=b",
        "host=db user=u password='hunter2",
        "mysql://u:hunter2@db/shop",
    ] {
        for toml in [format!("[postgres]\nurl = \"{url}\""), format!("[postgres]\nslot = \"{url}\"")] {
            let bad = match Config::load(&source(Some(&toml), &REQUIRED[1..], &[])) {
                Ok(loaded) => format!("{loaded:?}"),
                Err(bad) => format!("{bad} {bad:?}"),
            };
            assert!(!bad.contains("hunter2"), "{url}: {bad}");
        }
    }
    for value in ["['hunter2']", "{ hunter2 = 1 }", "12", "''", "'  '"] {
        let toml = format!("[postgres]\nurl = {value}\n[kafka.properties]\n'sasl.password' = ['hunter2']");
        let found = problems(Config::load(&source(Some(&toml), &REQUIRED[1..], &[])));
        assert!(!found.concat().contains("hunter2"), "{found:?}");
    }
}

fn some_key() -> impl Strategy<Value = String> {
    let names: Vec<String> = keys::all()
        .map(|key| key.name().to_owned())
        .chain(
            ["postgres.url_file", "kafka.properties", "kafka.properties.sasl.password", "kafka", "x.y"]
                .map(str::to_owned),
        )
        .collect();
    proptest::sample::select(names)
}

fn some_value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("''".to_owned()),
        Just("[]".to_owned()),
        Just("{ a.b = 1 }".to_owned()),
        Just("[1, 'x', [true]]".to_owned()),
        Just("1.5".to_owned()),
        Just("2020-01-01".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        "'[ -&(-~]{0,20}'",
        "'[0-9]{1,25} ?[a-zA-Z]{0,3}'",
    ]
}

proptest! {
    #[test]
    fn load_never_panics_on_any_file(text: String) {
        let _ = Config::load(&source(Some(&text), &[], &[]));
    }

    #[test]
    fn load_never_panics_on_any_values(
        set in proptest::collection::vec((some_key(), some_value()), 0..12),
        variables in proptest::collection::vec((some_key(), "[ -~]{0,20}|\\PC{0,10}"), 0..12),
        broken in any::<bool>(),
    ) {
        let mut toml: String = set.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        if broken {
            toml.push_str("[[[");
        }
        let names = variables.iter().map(|(key, _)| variable(key)).collect::<Vec<_>>();
        let variables: Vec<(&str, &str)> =
            names.iter().zip(&variables).map(|(name, (_, value))| (name.as_str(), value.as_str())).collect();
        if let Err(bad) = Config::load(&source(Some(&toml), &variables, &[])) {
            prop_assert!(!bad.problems.is_empty());
        }
    }

    #[test]
    fn no_problem_hides_another_one(
        which in proptest::sample::subsequence(BAD.to_vec(), 1..=BAD.len()),
    ) {
        // Without a URL, because setting TLS up takes longer than all the rest.
        let bad = Config::load(&source(None, &[&REQUIRED[1..], &which].concat(), &[])).unwrap_err();
        let names: Vec<String> = bad.problems.iter().map(ToString::to_string).collect();
        prop_assert_eq!(names.len(), which.len() + 1);
        for (name, _) in which {
            prop_assert!(names.iter().any(|problem| problem.contains(name)), "{}: {:?}", name, names);
        }
    }
}

const BAD: [(&str, &str); 12] = [
    ("POSTRIDER_POSTGRES_SLOT", "A"),
    ("POSTRIDER_POSTGRES_TABLE", "a.b.c"),
    ("POSTRIDER_POSTGRES_SLOT_LOST", "x"),
    ("POSTRIDER_ROUTING_TOPIC", "{"),
    ("POSTRIDER_ROUTING_KEY", "{payload}"),
    ("POSTRIDER_COLUMNS_TOPIC", "id"),
    ("POSTRIDER_LIMITS_IN_FLIGHT_EVENTS", "-1"),
    ("POSTRIDER_LIMITS_IN_FLIGHT_BYTES", "x"),
    ("POSTRIDER_RECEIPTS_FOLLOW", "a,,b"),
    ("POSTRIDER_RETENTION_COMPLETE_AFTER", "soon"),
    ("POSTRIDER_LOG_LEVEL", "loud"),
    ("POSTRIDER_KAFKA_PROPERTIES_ACKS", "1"),
];
