//! Without write-back: no status columns, and the slot is confirmed on acknowledgement alone.

use integration_tests::{Stage, wait_until};

#[test]
fn table_without_status_columns_is_relayed_without_write_back() {
    let stage = Stage::builder().setting("POSTRIDER_WRITEBACK_ENABLED", "false").build();
    let mut client = stage.client();
    let columns = "status, published_at, completed_at, kafka_topic, kafka_partition, kafka_offset, attempts, \
                   last_attempt_at, last_error";
    for column in columns.split(", ") {
        client.batch_execute(&format!("alter table outbox drop column {column}")).expect(column);
    }
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    let sql = "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload) \
               select gen_random_uuid(), 'pure', (n % 7)::text, 'e', to_jsonb(n) from generate_series(1, 1000) n";
    client.batch_execute(sql).expect("inserted");
    let end = stage.log_end();
    wait_until("the slot is confirmed past all rows", || stage.confirmed() >= end);
    assert!(relay.stop().success());
    let mut ids: Vec<_> = stage.records().iter().map(|record| record.id()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), stage.records().len()), (1000, 1000));
}
