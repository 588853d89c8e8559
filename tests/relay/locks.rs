//! Row locks on the outbox.

use integration_tests::{NewRow, Stage, assert_delivered, assert_keys_in_order, wait_until};

#[test]
fn locked_row_is_logged_and_written_once_the_lock_is_released() {
    let stage = Stage::new();
    let locked = NewRow::of("locked", 0, 0);
    stage.insert(&locked);
    for number in 1..20 {
        stage.insert(&NewRow::of("locked", number % 3, number));
    }
    let mut client = stage.client();
    let mut transaction = client.transaction().expect("begins");
    let sql = "select from outbox where id = $1 for update";
    transaction.execute(sql, &[&locked.id]).expect("the row is locked");

    let mut relay = stage.relay();
    relay.wait_until_streaming();
    relay.wait_for_log("no event in flight makes progress");
    assert!(relay.log().contains("check for locks"), "{}", relay.log());
    transaction.rollback().expect("the lock is released");
    wait_until("all rows are published", || stage.count("PUBLISH") == 20);
    assert!(relay.stop().success());
    assert_keys_in_order(&assert_delivered(&stage));
}
