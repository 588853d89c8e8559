//! A server that comes back without the end of its WAL.

use std::fs;
use std::path::Path;
use std::process::Command;

use integration_tests::{NewRow, Stage, assert_placed, wait_until};
use tempfile::TempDir;
use testbed::Postgres;

/// The relay has read and published the lost part of the WAL. New commits reuse its LSNs.
#[test]
fn server_that_lost_the_end_of_its_wal_is_read_from_its_slot() {
    let postgres = Postgres::start().expect("PostgreSQL");
    let stage = Stage::builder().postgres(&postgres).build();
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    let (snapshot, read) = snapshot_then_publish(&postgres, &stage, 500);

    restore(&postgres, &snapshot);
    insert(&stage, 20);
    assert!(stage.log_end() < read, "the relay has read beyond the end of the WAL");
    wait_until("the new rows are published", || stage.count("PUBLISH") == 70);
    relay.wait_for_log("which was read already");

    insert(&stage, 1000);
    assert!(stage.log_end() > read, "the WAL ends after what the relay had read");
    wait_until("the new rows are published", || stage.count("PUBLISH") == 1070);
    let end = stage.log_end();
    wait_until("the slot follows", || stage.confirmed() >= end);
    assert!(relay.is_running(), "{}", relay.log());
    assert!(relay.stop().success());
    assert_placed(&stage);
}

/// When the relay reconnects, the new WAL ends after what it had read of the old one.
#[test]
fn rewritten_wal_that_ends_after_the_read_position_is_read_from_the_slot() {
    let postgres = Postgres::start().expect("PostgreSQL");
    let stage = Stage::builder().postgres(&postgres).build();
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    let (snapshot, read) = snapshot_then_publish(&postgres, &stage, 50);

    relay.pause();
    restore(&postgres, &snapshot);
    insert(&stage, 500);
    assert!(stage.log_end() > read, "the WAL ends after what the relay had read");
    relay.resume();
    wait_until("the new rows are published", || stage.count("PUBLISH") == 550);
    assert!(relay.is_running(), "{}", relay.log());
    assert!(relay.stop().success());
    assert_placed(&stage);
}

/// Publishes 50 rows, copies the data directory, and publishes `lost` more. Returns the copy and the end of the WAL.
fn snapshot_then_publish(postgres: &Postgres, stage: &Stage<'_>, lost: i64) -> (TempDir, i64) {
    insert(stage, 50);
    wait_until("the first rows are published", || stage.count("PUBLISH") == 50);
    postgres.stop().expect("PostgreSQL stops");
    let aside = TempDir::new().expect("a directory");
    copy(postgres.data_dir(), &aside.path().join("data"));
    postgres.start_again().expect("PostgreSQL starts again");
    insert(stage, lost);
    wait_until("the rows that get lost are published", || stage.count("PUBLISH") == 50 + lost);
    let read = stage.log_end();
    wait_until("the slot is confirmed up to the end", || stage.confirmed() >= read);
    (aside, read)
}

fn restore(postgres: &Postgres, snapshot: &TempDir) {
    postgres.kill().expect("PostgreSQL is killed");
    fs::remove_dir_all(postgres.data_dir()).expect("the data are removed");
    copy(&snapshot.path().join("data"), postgres.data_dir());
    postgres.start_again().expect("PostgreSQL starts from the older data");
}

fn insert(stage: &Stage<'_>, rows: i64) {
    let mut client = stage.client();
    for number in 0..rows {
        NewRow::of("restored", number % 4, number).insert(&mut client).expect("inserted");
    }
}

/// With owners and modes, which the server checks.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(status.success(), "cp: {status}");
}
