//! A slot that is made when rows are there already.

use integration_tests::{NewRow, Stage};

#[test]
fn init_says_which_rows_a_new_slot_does_not_bring() {
    let stage = Stage::new();
    stage.insert(&NewRow::of("early", 1, 1));
    let mut client = stage.client();
    client.execute("select pg_drop_replication_slot($1)", &[&stage.slot()]).expect("the slot is dropped");

    let run = stage.postrider(&["run"]);
    assert_eq!(run.status.code(), Some(1));
    let told = String::from_utf8_lossy(&run.stderr);
    assert!(told.contains("stay INIT until the relay finds them"), "{told}");

    let init = stage.postrider(&["init"]);
    assert!(init.status.success());
    let told = String::from_utf8_lossy(&init.stderr);
    assert!(told.contains("holds 1 INIT rows from before slot"), "{told}");
}
