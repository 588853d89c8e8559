//! An outbox in monthly partitions.

use integration_tests::{NewRow, Stage, assert_delivered, assert_keys_in_order, wait_until};

#[test]
fn rows_of_every_partition_are_published_and_written_back() {
    let stage = Stage::builder().partitioned().build();
    // Otherwise the broker rejects records of next month.
    stage.create_topic("monthly", 3, &[("message.timestamp.after.max.ms", "9223372036854775807")]);
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    let mut client = stage.client();
    for number in 0..600 {
        let row = NewRow::of("monthly", number % 5, number);
        row.insert(&mut client).expect("inserted");
    }
    // Next month's partition, and the default one.
    for (number, created_at) in ["now() + interval '1 month'", "now() - interval '1 year'"].iter().enumerate()
    {
        let sql = format!(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload, created_at) \
             values (gen_random_uuid(), 'monthly', 'far{number}', 'happened', '{number}', {created_at})"
        );
        client.batch_execute(&sql).expect("inserted");
    }
    wait_until("all rows are published", || stage.count("PUBLISH") == 602);
    let sql = "select count(distinct tableoid) from outbox";
    let partitions: i64 = client.query_one(sql, &[]).expect("counted").get(0);
    assert_eq!(partitions, 3);
    assert!(relay.stop().success());
    assert_keys_in_order(&assert_delivered(&stage));
}

#[test]
fn missing_partition_is_created_while_the_relay_runs() {
    let stage = Stage::builder().partitioned().build();
    let mut client = stage.client();
    let name = "'outbox_' || to_char(now() at time zone 'UTC' + interval '1 month', 'YYYY_MM')";
    let drop = format!("do $$ begin execute 'drop table ' || {name}; end $$");
    client.batch_execute(&drop).expect("dropped");
    let mut relay = stage.relay();
    relay.wait_for_log("partition created partition=public.outbox_");
    let there = format!("select to_regclass({name}) is not null");
    assert!(client.query_one(&there, &[]).expect("asked").get::<_, bool>(0));
    stage.insert(&NewRow::of("monthly", 1, 1));
    wait_until("it is published", || stage.count("PUBLISH") == 1);
    assert!(relay.stop().success());
}
