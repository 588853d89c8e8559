//! Schema changes of the outbox table while the relay runs.

use std::thread;

use integration_tests::{Load, NewRow, Stage, assert_delivered, assert_keys_in_order, wait_until};

#[test]
fn column_added_and_dropped_under_load_loses_nothing() {
    let stage = Stage::new();
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    let load = Load::default();
    let total = thread::scope(|scope| {
        let until_ended = load.until_dropped();
        let writer = scope.spawn(|| {
            let mut client = stage.client();
            let mut number = 0;
            while load.goes_on() {
                NewRow::of("wide", number % 3, number).insert(&mut client).expect("inserted");
                number += 1;
            }
            number
        });
        let mut client = stage.client();
        let changes = [
            "alter table outbox add column tenant text default 'none'",
            "alter table outbox add column extra int",
            "alter table outbox drop column extra",
            "alter table outbox drop column tenant",
        ];
        for (number, change) in changes.iter().enumerate() {
            wait_until("rows flow", || stage.count("PUBLISH") > number as i64 * 50);
            client.batch_execute(change).expect(change);
        }
        drop(until_ended);
        writer.join().expect("the writer ends")
    });
    wait_until("all rows are published", || stage.count("PUBLISH") == total);
    assert!(relay.stop().success());
    assert_keys_in_order(&assert_delivered(&stage));
}

#[test]
fn row_committed_under_another_table_name_is_published() {
    let stage = Stage::new();
    let mut client = stage.client();
    let sql = "alter table outbox rename to elsewhere;
               insert into elsewhere (id, aggregate_type, aggregate_id, event_type, payload)
               values (gen_random_uuid(), 'renamed', 'a', 'e', '1');";
    client.batch_execute(sql).expect("renamed and inserted");
    client.batch_execute("alter table elsewhere rename to outbox").expect("renamed back");
    stage.insert(&NewRow::of("renamed", "a", 2));
    let relay = stage.relay();
    wait_until("both rows are published", || stage.count("PUBLISH") == 2);
    assert!(relay.stop().success());
    assert_keys_in_order(&assert_delivered(&stage));
}
