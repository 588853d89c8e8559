//! Rolled-back transactions leave no record; committed ones keep commit order.

use std::thread;

use integration_tests::{NewRow, Stage, assert_delivered, assert_keys_in_order, wait_until};
use testbed::Postgres;

#[test]
fn rolled_back_transactions_and_savepoints_leave_no_record() {
    let stage = Stage::new();
    let relay = stage.relay();
    let mut client = stage.client();
    for number in 0..20 {
        let mut transaction = client.transaction().expect("begins");
        NewRow::of("kept", number, 1).insert(&mut transaction).expect("inserted");
        let mut savepoint = transaction.savepoint("undone").expect("savepoint");
        NewRow::of("undone", number, 2).insert(&mut savepoint).expect("inserted");
        savepoint.rollback().expect("rolls back");
        let mut released = transaction.savepoint("kept").expect("savepoint");
        NewRow::of("kept", number, 3).insert(&mut released).expect("inserted");
        released.commit().expect("released");
        transaction.commit().expect("commits");

        let mut transaction = client.transaction().expect("begins");
        NewRow::of("undone", number, 4).insert(&mut transaction).expect("inserted");
        transaction.rollback().expect("rolls back");
    }
    wait_until("the committed rows are published", || stage.count("PUBLISH") == 40);
    let records = assert_delivered(&stage);
    assert_eq!(records.len(), 40);
    assert!(records.iter().all(|record| record.topic == stage.topic("kept")));
    assert!(relay.stop().success());
}

/// The writers of a key take turns by a row lock, so the order of commits is the order of the numbers;
/// their transactions overlap those of all other keys.
#[test]
fn interleaved_transactions_keep_commit_order_per_key() {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 60;
    const KEYS: usize = 5;
    let stage = Stage::new();
    let setup = "create table counter (key int primary key, n bigint not null);
                 insert into counter select k, 0 from generate_series(0, 4) k";
    stage.client().batch_execute(setup).expect("counters");
    let relay = stage.relay();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let stage = &stage;
            scope.spawn(move || {
                let mut client = stage.client();
                for round in 0..ROUNDS {
                    let key = i32::try_from((writer + round) % KEYS).expect("small");
                    let mut transaction = client.transaction().expect("begins");
                    let sql = "update counter set n = n + 1 where key = $1 returning n";
                    let number: i64 = transaction.query_one(sql, &[&key]).expect("counts").get(0);
                    NewRow::of("turn", key, number).insert(&mut transaction).expect("inserted");
                    transaction.commit().expect("commits");
                }
            });
        }
    });
    wait_until("all rows are published", || stage.count("PUBLISH") == (WRITERS * ROUNDS) as i64);
    let records = assert_delivered(&stage);
    assert_keys_in_order(&records);
    assert!(relay.stop().success());
}

/// Logical decoding delivers a commit before its rows are visible to other transactions: with synchronous
/// replication until a standby has confirmed it, here until no standby is required any more.
#[test]
fn row_delivered_before_it_is_visible_becomes_publish() {
    let postgres = Postgres::start().expect("PostgreSQL");
    let stage = Stage::builder().postgres(&postgres).build();
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    let mut client = stage.client();
    let mut execute = |sql: &str| client.batch_execute(sql).expect(sql);
    execute("alter system set synchronous_standby_names = 'absent'");
    execute("select pg_reload_conf()");
    let mut observer = stage.client();
    let waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
    let mut waiting = || observer.query_one(waiting, &[]).expect("activity is seen").get::<_, i64>(0);
    thread::scope(|scope| {
        scope.spawn(|| stage.insert(&NewRow::of("early", 1, 1)));
        wait_until("the service's commit and the write-back both wait for the standby", || waiting() == 2);
        assert_eq!(stage.count("INIT"), 0, "the row is not visible");
        execute("set synchronous_commit = local");
        execute("alter system reset synchronous_standby_names");
        execute("select pg_reload_conf()");
    });
    wait_until("the row is PUBLISH", || stage.count("PUBLISH") == 1);
    assert!(relay.stop().success());
    assert_delivered(&stage);
}
