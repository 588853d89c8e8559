//! A table in monthly partitions.

use std::time::{Duration, Instant};

use outbox_store::{Expired, Month, RowUpdateBatch, Shape, connect, inspect, keep_ahead, plan};

use crate::fixture::{Fixture, tls};
use crate::retention::{retention, sweep};
use crate::row_writer::{published, writer};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Long enough ago for every test's cutoff.
const MARCH: Month = Month::new(2024, 3);

async fn march(fixture: &Fixture) {
    fixture
        .execute(
            "create table outbox_2024_03 partition of outbox
             for values from ('2024-03-01 00:00:00+00') to ('2024-04-01 00:00:00+00') with (fillfactor = 50)",
        )
        .await;
}

/// Rows of a status, created and completed that March.
async fn rows(fixture: &Fixture, status: &str, count: i32) {
    fixture
        .execute(&format!(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type, status, created_at, completed_at)
             select gen_random_uuid(), 'order', '1', 'placed', '{status}', t, t
             from generate_series(1, {count}) as n, lateral (select timestamptz '2024-03-01 00:00+00' + n * interval '1 minute') as at (t)"
        ))
        .await;
}

/// The partitions, without what comes before their month.
async fn partitions(fixture: &Fixture) -> String {
    let sql = "select string_agg(substr(c.relname, 8), ' ' order by c.relname) from pg_inherits i
               join pg_class c on c.oid = i.inhrelid where i.inhparent = 'outbox'::regclass";
    fixture.text(sql).await
}

async fn expired(fixture: &Fixture) -> Vec<(Month, Expired)> {
    let retention = retention(fixture).await;
    let mark = retention.mark(DAY).await.expect("the log is marked");
    let mut expired = Vec::new();
    for month in retention.expired(&mark).await.expect("they are known") {
        expired.push((month, retention.drop_month(month, &mark).await.expect("it is tried")));
    }
    expired
}

#[tokio::test]
async fn init_makes_this_month_and_the_next_two_once() {
    let fixture = Fixture::empty().await;
    let first = fixture.init_as(Shape::Monthly).await;
    assert_eq!(first[3], "created table public.outbox, in monthly partitions");
    let sql = "select string_agg(to_char(m, 'YYYY_MM'), ' ' order by m) || ' default'
               from generate_series(date_trunc('month', now() at time zone 'UTC'), now() at time zone 'UTC' + interval '2 months',
                                    interval '1 month') as m";
    let months = fixture.text(sql).await;
    assert_eq!(partitions(&fixture).await, months);
    let fillfactors = "select string_agg(distinct array_to_string(c.reloptions, ','), ' ') from pg_inherits i
                       join pg_class c on c.oid = i.inhrelid where i.inhparent = 'outbox'::regclass";
    assert_eq!(fixture.text(fillfactors).await, "fillfactor=50");
    let slot = &fixture.names.slot;
    let found = ["schema postrider", "table public.outbox", "publication postrider", &format!("slot {slot}")]
        .map(|what| format!("found {what}"));
    for shape in [Shape::Monthly, Shape::Plain] {
        assert_eq!(fixture.init_as(shape).await, found);
    }
    let check = fixture.check_with(true).await;
    assert_eq!((check.problems, check.notes), (Vec::new(), Vec::new()));
    assert!(check.partitioned);
    let ahead = keep_ahead(&fixture.session, &fixture.names).await.expect("it is looked at");
    assert_eq!(ahead, outbox_store::Ahead::default());
}

#[tokio::test]
async fn a_plain_table_is_not_made_a_partitioned_one() {
    let fixture = Fixture::set_up().await;
    assert!(!fixture.check().await.partitioned);
    let found = inspect(&fixture.session, &fixture.names).await.expect("it can be looked at");
    let problems = plan(&found, &fixture.names, true, Shape::Monthly).problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].to_string().contains("without --partitioned"), "{problems:?}");
}

#[tokio::test]
async fn the_months_to_come_are_kept_ahead_whatever_the_time_zone() {
    let fixture = Fixture::partitioned().await;
    fixture.execute(&format!("alter database {} set timezone = 'Pacific/Apia'", fixture.database)).await;
    let before = partitions(&fixture).await;
    let missing = "do $$ declare name text; begin
        for name in select inhrelid::regclass::text from pg_inherits where inhparent = 'outbox'::regclass
                    order by 1 limit 2 offset 1 loop
            execute 'drop table ' || name;
        end loop; end $$";
    fixture.execute(missing).await;
    let ahead = keep_ahead(&fixture.connect().await, &fixture.names).await.expect("they are made");
    assert_eq!((ahead.made.len(), ahead.problems.len(), ahead.locked), (2, 0, false));
    assert_eq!(partitions(&fixture).await, before);
}

#[tokio::test]
async fn blocked_partition_is_reported_and_the_others_are_created() {
    let fixture = Fixture::partitioned().await;
    let names = ["1 month", "2 months"].map(|ahead| {
        format!("'outbox_' || to_char(now() at time zone 'UTC' + interval '{ahead}', 'YYYY_MM')")
    });
    let [next, last] = [
        fixture.text(&format!("select {}", names[0])).await,
        fixture.text(&format!("select {}", names[1])).await,
    ];
    fixture.execute(&format!("drop table {next}, {last}; create table {last} ()")).await;
    fixture
        .execute(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload, created_at)
             select gen_random_uuid(), 'order', '1', 'placed', '{}',
                    date_trunc('month', now() at time zone 'UTC') at time zone 'UTC' + interval '1 month 1 day'
             from generate_series(1, 3)",
        )
        .await;
    let ahead = keep_ahead(&fixture.session, &fixture.names).await.expect("it is tried");
    assert_eq!((ahead.made.len(), ahead.problems.len()), (0, 2), "{ahead:?}");
    assert!(ahead.problems[1].remedy.contains("rename it"), "{ahead:?}");
    fixture.execute(&format!("drop table {last}")).await;

    // The remedy works, publishes nothing again, and loses nothing.
    let inserts = format!(
        "select count(*)::text from pg_logical_slot_get_binary_changes('{}', null, null, 'proto_version', '1',
             'publication_names', 'postrider') where get_byte(data, 0) = ascii('I')",
        fixture.names.slot
    );
    assert_eq!(fixture.text(&inserts).await, "3");
    let (_, sql) = ahead.problems[0].remedy.split_once("To move them: ").expect("statements");
    fixture.execute(sql).await;
    assert_eq!(fixture.text(&inserts).await, "0");
    assert_eq!(fixture.text(&format!("select count(*)::text from {next}")).await, "3");
    let ahead = keep_ahead(&fixture.session, &fixture.names).await.expect("it is tried");
    assert_eq!((ahead.made.len(), ahead.problems.len()), (1, 0), "{ahead:?}");
    assert_eq!(ahead.made[0].name, last);
    fixture.execute("insert into outbox (id, aggregate_type, aggregate_id, event_type) values (gen_random_uuid(), 'a', 'b', 'c')").await;
    assert_eq!(fixture.text(&inserts).await, "1");
    assert_eq!(fixture.check_with(true).await.notes, Vec::<String>::new());
}

#[tokio::test]
async fn partitions_need_the_owner_of_the_table() {
    let fixture = Fixture::partitioned().await;
    let next = fixture
        .text("select 'outbox_' || to_char(now() at time zone 'UTC' + interval '1 month', 'YYYY_MM')")
        .await;
    march(&fixture).await;
    fixture.execute(&format!("drop table {next}")).await;
    let (role, config) = fixture.role("replication").await;
    fixture
        .execute(&format!(
            "grant select, update, delete on outbox, outbox_2024_03 to {role}; grant usage on schema postrider to {role};
             grant all on all tables in schema postrider to {role}"
        ))
        .await;
    let session = connect(&config, &tls()).await.expect("it may log in");
    let ahead = keep_ahead(&session, &fixture.names).await.expect("it is tried");
    assert_eq!(ahead.problems.len(), 1, "{ahead:?}");
    assert!(ahead.problems[0].remedy.contains("as the owner of public.outbox once a month"), "{ahead:?}");
    let retention = outbox_store::Retention::new(session, &fixture.names).await.expect("it begins");
    let mark = retention.mark(DAY).await.expect("the log is marked");
    let error = retention.drop_month(MARCH, &mark).await.expect_err("it may not");
    assert!(!error.is_retryable() && error.to_string().contains("let the role own"), "{error}");
    retention.expired(&mark).await.expect("the connection serves on");
}

#[tokio::test]
async fn a_month_goes_as_a_whole_once_all_of_its_rows_are_complete_and_old() {
    let fixture = Fixture::partitioned().await;
    let without = partitions(&fixture).await;
    march(&fixture).await;
    rows(&fixture, "COMPLETE", 1000).await;
    for (spoil, mend) in [
        ("status = 'FAILED'", "status = 'COMPLETE'"),
        ("completed_at = null", "completed_at = now() - interval '2 days'"),
        ("completed_at = now()", "completed_at = now() - interval '2 days'"),
    ] {
        let update =
            |set| format!("update outbox set {set} where id = (select max(id::text)::uuid from outbox)");
        fixture.execute(&update(spoil)).await;
        assert_eq!(expired(&fixture).await, [(MARCH, Expired::Kept)], "{spoil}");
        fixture.execute(&update(mend)).await;
    }
    assert_eq!(sweep(&fixture, DAY).await, [(0, 0)], "rows of a month do not go one by one");
    assert_eq!(fixture.text("select count(*)::text from outbox").await, "1000");
    assert_eq!(expired(&fixture).await, [(MARCH, Expired::Dropped)]);
    assert_eq!(partitions(&fixture).await, without);
    assert_eq!(fixture.text("select coalesce(to_regclass('outbox_2024_03')::text, 'gone')").await, "gone");
    assert_eq!(expired(&fixture).await, []);
}

#[tokio::test]
async fn rows_of_the_default_partition_go_one_by_one() {
    let fixture = Fixture::partitioned().await;
    rows(&fixture, "COMPLETE", 700).await;
    rows(&fixture, "PUBLISH", 10).await;
    assert_eq!(sweep(&fixture, DAY).await.iter().map(|(_, deleted)| deleted).sum::<u64>(), 700);
    assert_eq!(fixture.text("select count(*)::text from outbox_default").await, "10");
}

#[tokio::test]
async fn partition_is_not_dropped_while_the_table_is_locked() {
    let fixture = Fixture::partitioned().await;
    march(&fixture).await;
    rows(&fixture, "COMPLETE", 10).await;
    fixture.execute("begin; select from outbox limit 1").await;
    assert_eq!(expired(&fixture).await, [(MARCH, Expired::Locked)]);
    fixture.execute("commit").await;
    assert_eq!(expired(&fixture).await, [(MARCH, Expired::Dropped)]);
}

#[tokio::test]
async fn what_an_interrupted_pass_has_detached_is_dropped_or_put_back_by_the_next() {
    let fixture = Fixture::partitioned().await;
    let detach = "alter table outbox detach partition outbox_2024_03;
                  comment on table outbox_2024_03 is
                  'Detached from public.outbox by Postrider, which drops it if all of its rows are COMPLETE.'";
    march(&fixture).await;
    rows(&fixture, "COMPLETE", 10).await;
    fixture.execute(detach).await;
    fixture
        .execute("update outbox_2024_03 set status = 'FAILED' where created_at < '2024-03-01 00:02+00'")
        .await;
    assert_eq!(expired(&fixture).await, [(MARCH, Expired::Kept)]);
    assert_eq!(fixture.text("select count(*)::text from outbox").await, "10", "it is attached again");
    fixture.execute("update outbox set status = 'COMPLETE'").await;
    fixture.execute(detach).await;
    assert_eq!(expired(&fixture).await, [(MARCH, Expired::Dropped)]);

    // A partition detached by another session is left alone.
    march(&fixture).await;
    fixture.execute("alter table outbox detach partition outbox_2024_03").await;
    assert_eq!(expired(&fixture).await, []);
}

#[tokio::test]
async fn a_partition_with_the_name_of_a_month_and_other_bounds_is_no_month() {
    let fixture = Fixture::partitioned().await;
    fixture
        .execute("create table outbox_2024_03 partition of outbox for values from ('2024-03-01 00:00:00+00') to ('2024-03-02 00:00:00+00')")
        .await;
    rows(&fixture, "COMPLETE", 10).await;
    assert_eq!(expired(&fixture).await, []);
    assert_eq!(sweep(&fixture, DAY).await, [(10, 10), (0, 0)], "its rows go one by one");
}

// The log names rows by id alone, so each batch looks into every partition's index.
#[tokio::test]
async fn write_back_looks_into_the_index_of_each_partition() {
    const ROWS: u128 = 20_000;
    let fixture = Fixture::partitioned().await;
    for month in 1..=12 {
        fixture
            .execute(&format!(
                "create table outbox_2023_{month:02} partition of outbox for values from ('2023-{month:02}-01 00:00:00+00')
                 to (timestamptz '2023-{month:02}-01 00:00:00+00' + interval '1 month') with (fillfactor = 50)"
            ))
            .await;
    }
    let writer = writer(&fixture).await;
    fixture
        .execute(&format!(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload)
             select lpad(to_hex(n), 32, '0')::uuid, 'order', n::text, 'placed', jsonb_build_object('n', n, 'filler', repeat('x', 280))
             from generate_series(0, {ROWS} - 1) as n"
        ))
        .await;
    let mut written = 0;
    let mut times = Vec::new();
    for batch in 0..ROWS / 1000 {
        let rows = (batch * 1000..(batch + 1) * 1000)
            .map(|id| published(id, "orders", 0, i64::try_from(id).unwrap()));
        let batch = RowUpdateBatch::new(rows);
        let start = Instant::now();
        written += writer.write(&batch, false).await.expect("it is written").published;
        times.push(start.elapsed());
    }
    assert_eq!(u128::from(written), ROWS);
    times.sort_unstable();
    println!("{:.1} µs per row with 16 partitions", times[times.len() / 2].as_secs_f64() * 1000.0);
    drop(writer);
    // Each row is looked for in each of the 16, and by nothing else: that would be 20 scans of a table. (The default
    // partition is read whenever another is made.)
    let counts = format!(
        "select concat_ws(' ', count(*), min(i.idx_scan) >= {ROWS}, max(t.seq_scan) filter (where t.relname <> 'outbox_default') < 10, sum(n_tup_upd), sum(n_tup_hot_upd))
         from pg_stat_user_tables t join pg_stat_user_indexes i using (relid)
         where t.relname like 'outbox%' and i.indexrelname like '%_pkey'"
    );
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let now = fixture.text(&counts).await;
        if now == format!("16 t t {ROWS} {ROWS}") {
            break;
        }
        assert!(Instant::now() < deadline, "partitions, by index, not by scan, updates, HOT: {now}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
