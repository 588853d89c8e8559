//! Start, stop, kill, pause and restart of a Kafka broker.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::Write;
use std::process::Command;

use testbed::Kafka;

const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";

/// Three records by Kafka's own performance tool, all of one topic.
fn produce(kafka: &Kafka, topic: &str) {
    let servers = format!("bootstrap.servers={}", kafka.brokers());
    let arguments = ["--topic", topic, "--num-records", "3", "--record-size", "10", "--throughput", "-1"];
    let arguments = [&arguments[..], &["--producer-props", &servers, "acks=all"]].concat();
    kafka.tool("org.apache.kafka.tools.ProducerPerformance", &arguments).unwrap();
}

fn records(kafka: &Kafka, topic: &str) -> i64 {
    let printed = kafka.tool(OFFSETS, &["--bootstrap-server", kafka.brokers(), "--topic", topic]).unwrap();
    printed.lines().filter_map(|line| line.rsplit(':').next()?.parse::<i64>().ok()).sum()
}

#[test]
fn broker_keeps_its_records_through_stop_kill_and_pause() {
    let kafka = Kafka::builder().property("num.partitions", "2").start().unwrap();
    let brokers = kafka.brokers().to_owned();
    kafka.create_topic("kept", 4, &[("max.message.bytes", "2000")]).unwrap();
    produce(&kafka, "kept");
    assert_eq!(records(&kafka, "kept"), 3);

    kafka.kill().unwrap();
    assert!(!kafka.is_running());
    kafka.start_again().unwrap();
    assert_eq!(kafka.brokers(), brokers);
    assert_eq!(records(&kafka, "kept"), 3);

    kafka.stop().unwrap();
    assert!(!kafka.is_running());
    kafka.start_again().unwrap();
    produce(&kafka, "kept");
    assert_eq!(records(&kafka, "kept"), 6);

    kafka.pause().unwrap();
    assert!(kafka.is_running());
    kafka.resume().unwrap();
    assert_eq!(records(&kafka, "kept"), 6);

    // An auto-created topic has the partitions of the builder's property.
    produce(&kafka, "by_itself");
    let printed = kafka.tool(OFFSETS, &["--bootstrap-server", &brokers, "--topic", "by_itself"]).unwrap();
    assert_eq!(printed.lines().count(), 2, "{printed}");

    let error = kafka.create_topic("kept", 1, &[]).unwrap_err().to_string();
    assert!(error.contains("already exists"), "{error}");

    let (pid, data) = (kafka.pid().unwrap(), kafka.data_dir());
    drop(kafka);
    assert!(!data.exists());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn prepared_broker_has_its_address_before_it_runs() {
    let kafka = Kafka::builder().prepare().unwrap();
    let brokers = kafka.brokers().to_owned();
    assert!(!kafka.is_running());
    assert!(std::net::TcpStream::connect(&brokers).is_err());
    kafka.start_again().unwrap();
    assert_eq!(kafka.brokers(), brokers);
    kafka.create_topic("later", 1, &[]).unwrap();
}

#[test]
fn start_error_contains_the_end_of_the_log() {
    let error = Kafka::builder().property("num.io.threads", "0").start().unwrap_err().to_string();
    assert!(error.contains("num.io.threads"), "{error}");
}

#[test]
fn shell_in_the_directory_of_a_server_is_not_signalled() {
    let kafka = Kafka::builder().prepare().unwrap();
    let mut shell = Command::new("cat")
        .current_dir(kafka.data_dir())
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(kafka);
    shell.stdin.take().unwrap().write_all(b"").unwrap();
    assert!(shell.wait().unwrap().success());
}
