//! Two relays on one slot.

use integration_tests::{NewRow, Stage, assert_delivered, wait_until};

#[test]
fn a_second_run_on_the_same_slot_waits_says_so_and_takes_over() {
    let stage = Stage::new();
    let mut first = stage.relay();
    first.wait_until_streaming();
    let mut second = stage.relay();
    second.wait_for_log("standing by");
    stage.insert(&NewRow::of("turns", 0, 0));
    wait_until("the first relay publishes", || stage.count("PUBLISH") == 1);
    assert!(first.stop().success());
    second.wait_until_streaming();
    stage.insert(&NewRow::of("turns", 0, 1));
    wait_until("the second relay publishes", || stage.count("PUBLISH") == 2);
    assert!(second.stop().success());
    assert_delivered(&stage);
}

#[test]
fn a_standby_ends_when_it_is_asked_to() {
    let stage = Stage::new();
    let mut first = stage.relay();
    first.wait_until_streaming();
    let mut second = stage.relay();
    second.wait_for_log("standing by");
    assert!(second.stop().success());
    assert!(first.stop().success());
}
