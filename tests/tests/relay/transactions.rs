//! What was rolled back leaves nothing; what was committed keeps the order of its commits.

use std::thread;

use integration_tests::{NewRow, Stage, assert_delivered, assert_keys_in_order, wait_until};

#[test]
fn rolled_back_transactions_and_savepoints_leave_nothing_on_the_broker() {
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
    wait_until("what is kept is published", || stage.count("PUBLISH") == 40);
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
    wait_until("all is published", || stage.count("PUBLISH") == (WRITERS * ROUNDS) as i64);
    let records = assert_delivered(&stage);
    assert_keys_in_order(&records);
    assert!(relay.stop().success());
}
