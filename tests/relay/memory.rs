//! Memory is bounded, whatever the size of a transaction.

use integration_tests::{NewRow, Stage, print_line, wait_until};

const ROWS: i64 = 1_000_000;
const MEMORY_PEAK_MAX_KIB: u64 = 50 * 1024;
/// The rows after the first tenth are some 500 MB.
const GROWTH_MAX_KIB: u64 = 16 * 1024;

#[test]
fn transaction_of_a_million_rows_needs_no_more_memory_than_its_first_tenth() {
    let stage = Stage::new();
    stage.create_topic("bulk", 6, &[]);
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    let sql = format!(
        "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload) \
         select gen_random_uuid(), 'bulk', (n % 1000)::text, 'counted', \
         jsonb_build_object('n', n, 'fill', repeat('x', 300)) from generate_series(1, {ROWS}) n"
    );
    stage.client().batch_execute(&sql).expect("inserted in one transaction");
    let mut peaks_kib = Vec::new();
    for tenth in 1..=10 {
        wait_until_published(&stage, ROWS / 10 * tenth);
        peaks_kib.push(relay.memory_peak_kib());
    }
    print_line(&format!(
        "peak memory of the relay after each tenth of {ROWS} rows in one transaction, KiB: {peaks_kib:?}"
    ));
    let (first_kib, peak_kib) = (peaks_kib[0], relay.memory_peak_kib());
    assert!(peak_kib < first_kib + GROWTH_MAX_KIB, "from {first_kib} KiB to {peak_kib} KiB is not flat");
    assert!(peak_kib < MEMORY_PEAK_MAX_KIB, "{peak_kib} KiB is more than {MEMORY_PEAK_MAX_KIB} KiB");
    stage.insert(&NewRow::of("bulk", "after", 1));
    wait_until_published(&stage, ROWS + 1);
    assert!(relay.stop().success());
    let sum: i64 = ends(&stage);
    assert_eq!(sum, ROWS + 1, "every row is on the broker exactly once");
}

/// The sum of the partitions' ends; every row has a position of its own, without a gap.
fn ends(stage: &Stage<'_>) -> i64 {
    let sql = "select sum(n)::int8 from (
                 select max(kafka_offset) + 1 as n, count(*) as rows, count(distinct kafka_offset) as places
                 from outbox group by kafka_topic, kafka_partition) p where n = rows and n = places";
    stage.client().query_one(sql, &[]).expect("positions are counted").get(0)
}

fn wait_until_published(stage: &Stage<'_>, rows: i64) {
    wait_until(&format!("{rows} rows are published"), || stage.written_back() >= rows);
}
