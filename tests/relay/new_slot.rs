//! A slot that is created after rows were inserted.

use integration_tests::{NewRow, Stage};

#[test]
fn init_reports_rows_that_a_new_slot_does_not_bring() {
    let stage = Stage::new();
    stage.insert(&NewRow::of("early", 1, 1));
    let mut client = stage.client();
    client.execute("select pg_drop_replication_slot($1)", &[&stage.slot()]).expect("the slot is dropped");

    let run = stage.postrider(&["run"]);
    assert_eq!(run.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert!(stderr.contains("stay INIT until the relay finds them"), "{stderr}");

    let init = stage.postrider(&["init"]);
    assert!(init.status.success());
    let stderr = String::from_utf8_lossy(&init.stderr);
    assert!(stderr.contains("holds 1 INIT rows from before slot"), "{stderr}");
}
