//! librdkafka's log lines arrive as tracing events, from every client and in every phase.

#![allow(missing_docs, reason = "tests are described by their names")]
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in test functions only, not in their helpers")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::process::{Command, Output};
use std::time::Duration;

use kafka_sink::{
    KafkaInspector, PartitionReader, Receipts, ReceiptsOptions, Routing, Sink, client_config, consumer_config,
};
use outbox::{Columns, Metrics, RecordPosition};
use rdkafka::ClientConfig;
use testbed::Kafka;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

/// The client to run in a child process, whose standard error shows every line that librdkafka writes itself.
const CLIENT: &str = "POSTRIDER_TEST_CLIENT";
const BROKERS: &str = "POSTRIDER_TEST_BROKERS";

/// Prints each event as `level facility`.
struct Printer;

#[derive(Default)]
struct Facility(Option<String>);

impl Visit for Facility {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "facility" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

impl Subscriber for Printer {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "kafka"
    }

    fn event(&self, event: &Event<'_>) {
        let mut facility = Facility::default();
        event.record(&mut facility);
        if let Facility(Some(facility)) = facility {
            println!("event {} {facility}", event.metadata().level());
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn config() -> ClientConfig {
    let properties = BTreeMap::from([("debug".to_owned(), "all".to_owned())]);
    client_config(&std::env::var(BROKERS).unwrap(), &properties).unwrap()
}

async fn run(client: &str) {
    const WHILE: Duration = Duration::from_secs(2);
    let config = config();
    match client {
        "partition reader" => {
            let read = move || {
                let reader = PartitionReader::new(&config, "reader").unwrap();
                let _ = reader.with_timeout(WHILE).at("orders", 0, 0, |_| ());
            };
            tokio::task::spawn_blocking(read).await.unwrap();
        }
        "inspector" => {
            let inspector = KafkaInspector::new(&config);
            let _ = tokio::time::timeout(WHILE, inspector.log_bounds("orders", 0)).await;
            let partitions = [("orders".into(), 0)];
            let _ = tokio::time::timeout(WHILE, inspector.committed("group", &partitions)).await;
        }
        "receipts" => {
            let (chunks, _receiver) = tokio::sync::mpsc::channel(1);
            let (group, follow) = ("receipts".to_owned(), vec!["followed".to_owned()]);
            let metrics = Metrics::new().unwrap();
            let options = ReceiptsOptions { config, group, follow, metrics };
            let mut receipts = Receipts::start(options, chunks).unwrap();
            receipts.observe(&RecordPosition { topic: "orders".into(), partition: 0, offset: 0 });
            tokio::time::sleep(WHILE).await;
            receipts.close().await;
        }
        "sink" => {
            let routing = Routing::compile("orders", "key", &mut Columns::default()).unwrap();
            let sink = Sink::new(routing, config, 10).unwrap();
            tokio::time::sleep(WHILE).await;
            sink.close().await;
        }
        other => panic!("{other}"),
    }
    // Clients are closed in the background.
    tokio::time::sleep(WHILE).await;
}

/// Runs one client; skipped unless a parent process asks for it.
#[tokio::test]
async fn client_process() {
    let Ok(client) = std::env::var(CLIENT) else { return };
    tracing::subscriber::set_global_default(Printer).unwrap();
    run(&client).await;
}

fn client(name: &str, brokers: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "client_process", "--nocapture"])
        .env(CLIENT, name)
        .env(BROKERS, brokers)
        .output()
        .unwrap()
}

#[test]
fn log_lines_of_every_client_are_tracing_events() {
    let kafka = Kafka::start().unwrap();
    kafka.create_topic("orders", 1, &[]).unwrap();
    let kafka_brokers = kafka.brokers();
    // No server listens on port 1 of the loopback.
    let unreachable = "127.0.0.1:1";
    for brokers in [kafka_brokers, unreachable] {
        for name in ["partition reader", "inspector", "receipts", "sink"] {
            let output = client(name, brokers);
            let (stdout, stderr) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{name}: {stdout}{stderr}");
            let raw: Vec<_> =
                stdout.lines().chain(stderr.lines()).filter(|line| line.starts_with('%')).collect();
            assert!(raw.is_empty(), "{name}: {raw:?}");
            // A client that is closed after its first answer is not polled.
            if brokers == unreachable {
                assert!(stdout.contains("event DEBUG "), "{name}: {stdout}");
            }
        }
    }
}

#[test]
fn log_level_is_that_of_the_configuration() {
    let config = client_config("127.0.0.1:9", &BTreeMap::new()).unwrap();
    assert_eq!(config.log_level as i32, 6, "info");
    assert_eq!(consumer_config(&config, "group").log_level as i32, 6);
}
