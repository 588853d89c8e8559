//! The crates depend on each other in one direction only, and the core on next to nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

type Dependencies = BTreeMap<String, BTreeSet<String>>;

/// What each package of the workspace depends on, development apart.
fn dependencies() -> Dependencies {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let of_package = |package: &Value| {
        let all = package["dependencies"].as_array().expect("a list");
        all.iter().filter(|dependency| dependency["kind"].is_null()).map(name).collect()
    };
    let packages = metadata["packages"].as_array().expect("a list");
    packages.iter().map(|package| (name(package), of_package(package))).collect()
}

fn assert_only(dependencies: &Dependencies, package: &str, allowed: &[&str]) {
    let ours: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    for dependency in &dependencies[package] {
        let foreign = !ours.contains(dependency.as_str());
        assert!(foreign || allowed.contains(&dependency.as_str()), "{package} depends on {dependency}");
    }
}

#[test]
fn crates_depend_in_the_direction_the_architecture_says() {
    let dependencies = dependencies();
    assert_only(&dependencies, "outbox", &[]);
    assert_only(&dependencies, "wal-reader", &["outbox"]);
    assert_only(&dependencies, "outbox-store", &["outbox"]);
    assert_only(&dependencies, "kafka-sink", &["outbox", "outbox-store"]);
    assert_only(&dependencies, "reconciler", &["outbox", "outbox-store"]);
    let parts = ["outbox", "outbox-store", "wal-reader", "kafka-sink", "reconciler"];
    assert_only(&dependencies, "postrider", &parts);
    assert_only(&dependencies, "shop", &[]);
    assert_only(&dependencies, "testbed", &[]);
    assert_only(&dependencies, "demo", &["shop", "testbed"]);
}

#[test]
fn the_core_does_no_io_the_reader_knows_no_kafka_and_the_sink_no_replication() {
    let dependencies = dependencies();
    let forbidden = [
        ("outbox", &["tokio", "tokio-postgres", "postgres-protocol", "rdkafka", "tracing"][..]),
        ("wal-reader", &["rdkafka"]),
        ("outbox-store", &["rdkafka", "postgres-protocol"]),
        ("kafka-sink", &["postgres-protocol"]),
        ("reconciler", &["rdkafka", "postgres-protocol"]),
        ("postrider", &["postgres-protocol"]),
    ];
    for (package, foreign) in forbidden {
        for dependency in foreign {
            assert!(!dependencies[package].contains(*dependency), "{package} depends on {dependency}");
        }
    }
}
