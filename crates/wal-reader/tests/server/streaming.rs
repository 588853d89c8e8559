use bytes::Bytes;
use outbox::Lsn;
use wal_reader::{Change, StandbyStatus, Value};

use crate::support::{Place, eventually, shared};

#[tokio::test]
async fn values_arrive_byte_for_byte() {
    let columns = "id uuid, doc jsonb, note text, raw bytea, number bigint, at timestamptz, empty text, nothing text, large text";
    let place = Place::new(shared(), columns).await;
    let mut listener = place.stream().await;
    let note = "quote ' double \" backslash \\ tab \t newline \n ümläut 漢字 🚚 \u{7f}\u{1}";
    let raw: Vec<u8> = (0..=255).collect();
    let large: String =
        (0..3_000_000_u32).map(|i| char::from(b'a' + (i.wrapping_mul(2_654_435_761) >> 28) as u8)).collect();
    place
        .sql
        .execute(
            "INSERT INTO t VALUES ('018f0000-0000-7000-8000-0000000000ff', '{\"b\": [1, \"ü\"], \"a\": null}', $1, $2, -2,
             '2000-01-01 00:00:01+00', '', NULL, $3)",
            &[&note, &raw, &large],
        )
        .await
        .expect("a row");
    place.mark("end").await;
    let changes = listener.until("end").await;
    let [Change::Begin { final_lsn, committed_at_us, .. }, Change::Relation(described), insert, commit] =
        &changes[..]
    else {
        panic!("{changes:?}")
    };
    let Change::Insert { relation, new } = insert else { panic!("{insert:?}") };
    let Change::Commit { commit_lsn, end_lsn, committed_at_us: again } = commit else { panic!("{commit:?}") };
    assert!(final_lsn == commit_lsn && commit_lsn < end_lsn && committed_at_us == again);
    assert_eq!(relation, described);
    assert_eq!((relation.namespace.as_str(), relation.name.as_str()), ("public", "t"));
    let types: Vec<(&str, u32)> = relation.columns.iter().map(|c| (c.name.as_str(), c.type_oid)).collect();
    assert_eq!(types[..5], [("id", 2950), ("doc", 3802), ("note", 25), ("raw", 17), ("number", 20)]);

    let mut id = vec![0x01, 0x8f, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0xff];
    id.truncate(16);
    let expected: [Vec<u8>; 9] = [
        id,
        "\u{1}{\"a\": null, \"b\": [1, \"ü\"]}".into(),
        note.into(),
        raw,
        (-2_i64).to_be_bytes().into(),
        1_000_000_i64.to_be_bytes().into(),
        Vec::new(),
        Vec::new(),
        large.into(),
    ];
    for (index, expected) in expected.into_iter().enumerate() {
        let expected = if index == 7 { Value::Null } else { Value::Binary(Bytes::from(expected)) };
        assert!(new.get(index) == Some(expected), "column {}", relation.columns[index].name);
    }
}

#[tokio::test]
async fn many_rows_of_many_sizes_arrive_in_order() {
    let place = Place::new(shared(), "n text, filler text").await;
    let mut listener = place.stream().await;
    let sql = "INSERT INTO t SELECT n, repeat('x', (n * 7919) % 3000 + CASE WHEN n % 500 = 0 THEN 200000 ELSE 0 END)
               FROM generate_series(1, 5000) n";
    place.sql.execute(sql, &[]).await.expect("rows");
    place.mark("end").await;
    let rows = listener.rows_until("end").await;
    assert_eq!(rows.len(), 5000);
    for (n, row) in (1..).zip(&rows) {
        let filler = (n * 7919) % 3000 + if n % 500 == 0 { 200_000 } else { 0 };
        assert_eq!(row[0], format!("n={n}"));
        assert_eq!(row[1].len(), "filler=".len() + filler, "row {n}");
    }
}

#[tokio::test]
async fn columns_come_and_go_and_change_places_while_streaming() {
    let place = Place::new(shared(), "a text, b text").await;
    let mut listener = place.stream().await;
    let steps = [
        "INSERT INTO t VALUES ('a1', 'b1')",
        "ALTER TABLE t ADD c text DEFAULT 'c0'",
        "INSERT INTO t VALUES ('a2', 'b2', 'c2')",
        "ALTER TABLE t DROP a; ALTER TABLE t ADD a text; INSERT INTO t VALUES ('b3', 'c3', 'a3')",
        "ALTER TABLE t RENAME b TO z",
        "BEGIN; INSERT INTO t VALUES ('z4', 'c4', 'a4'); ALTER TABLE t DROP c; INSERT INTO t VALUES ('z5', 'a5'); COMMIT",
    ];
    for sql in steps {
        place.sql.batch_execute(sql).await.expect(sql);
    }
    place.mark("end").await;
    let changes = listener.until("end").await;
    let rows: Vec<Vec<String>> = changes.iter().filter_map(crate::support::row).collect();
    let expected: [&[&str]; 5] = [
        &["a=a1", "b=b1"],
        &["a=a2", "b=b2", "c=c2"],
        &["b=b3", "c=c3", "a=a3"],
        &["z=z4", "c=c4", "a=a4"],
        &["z=z5", "a=a5"],
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn what_was_rolled_back_never_comes() {
    let place = Place::new(shared(), "a text").await;
    let mut listener = place.stream().await;
    let steps = [
        "BEGIN; INSERT INTO t VALUES ('rolled back'); ROLLBACK",
        "BEGIN; INSERT INTO t VALUES ('first'); SAVEPOINT s; INSERT INTO t VALUES ('in a savepoint'); ROLLBACK TO s;
         INSERT INTO t VALUES ('second'); COMMIT",
        "BEGIN; SAVEPOINT s; INSERT INTO t VALUES ('third'); RELEASE s; COMMIT",
        "UPDATE t SET a = 'changed'; DELETE FROM t; TRUNCATE t",
    ];
    for sql in steps {
        place.sql.batch_execute(sql).await.expect(sql);
    }
    place.mark("end").await;
    let changes = listener.until("end").await;
    let rows: Vec<Vec<String>> = changes.iter().filter_map(crate::support::row).collect();
    assert_eq!(rows, [["a=first"], ["a=second"], ["a=third"]]);
}

#[tokio::test]
async fn updates_deletes_and_truncates_are_passed_over_where_they_are_published() {
    let place = Place::new(shared(), "a text primary key, b text").await;
    place
        .sql
        .batch_execute("ALTER PUBLICATION p SET (publish = 'insert, update, delete, truncate')")
        .await
        .expect("p");
    place
        .sql
        .batch_execute("CREATE TYPE mood AS ENUM ('calm'); ALTER TABLE t ADD m mood")
        .await
        .expect("a type");
    let mut listener = place.stream().await;
    let sql = "INSERT INTO t VALUES ('1', '2', 'calm'); UPDATE t SET b = '3'; UPDATE t SET a = '4'; DELETE FROM t; TRUNCATE t;
               INSERT INTO t VALUES ('5', '6', NULL)";
    place.sql.batch_execute(sql).await.expect(sql);
    place.mark("end").await;
    let changes = listener.until("end").await;
    let others: Vec<_> = changes
        .iter()
        .filter_map(|change| if let Change::Other(kind) = change { Some(format!("{kind:?}")) } else { None })
        .collect();
    // A relation is described again after each of its changes of shape, its types with it.
    let others: Vec<_> = others.into_iter().filter(|kind| kind != "Type").collect();
    assert_eq!(others, ["Update", "Update", "Delete", "Truncate"]);
    let rows: Vec<Vec<String>> = changes.iter().filter_map(crate::support::row).collect();
    assert_eq!(rows, [["a=1", "b=2", "m=calm"], ["a=5", "b=6", "m=Some(Null)"]]);
}

#[tokio::test]
async fn logical_messages_come_with_their_transaction_or_at_once() {
    let place = Place::new(shared(), "a text").await;
    let mut listener = place.stream().await;
    let sql = "BEGIN; SELECT pg_logical_emit_message(false, 'now', 'rolled back or not');
               SELECT pg_logical_emit_message(true, 'later', 'gone'); ROLLBACK;
               BEGIN; INSERT INTO t VALUES ('x'); SELECT pg_logical_emit_message(true, 'prefix ü', '\\x00ff'::bytea); COMMIT";
    place.sql.batch_execute(sql).await.expect(sql);
    place.mark("end").await;
    let changes = listener.until("end").await;
    let messages: Vec<_> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Message { transactional, lsn, prefix, content } => {
                assert!(*lsn > Lsn::ZERO);
                Some((*transactional, prefix.clone(), content.clone()))
            }
            _ => None,
        })
        .collect();
    let expected = [
        (false, Bytes::from("now"), Bytes::from("rolled back or not")),
        (true, Bytes::from("prefix ü"), Bytes::from_static(b"\0\xff")),
    ];
    assert_eq!(messages, expected);
    assert!(matches!(changes[0], Change::Message { .. }), "it belongs to no transaction: {changes:?}");
}

#[tokio::test]
async fn what_is_confirmed_does_not_come_again_and_the_rest_does() {
    let place = Place::new(shared(), "a text").await;
    let mut listener = place.stream().await;
    place.sql.execute("INSERT INTO t VALUES ('confirmed')", &[]).await.expect("a row");
    place.mark("first").await;
    assert_eq!(listener.rows_until("first").await, [["a=confirmed"]]);
    let end = listener.end;
    place.sql.execute("INSERT INTO t VALUES ('only received')", &[]).await.expect("a row");
    place.mark("second").await;
    assert_eq!(listener.rows_until("second").await, [["a=only received"]]);

    listener.stream.queue_status(&StandbyStatus {
        written: listener.end,
        flushed: end,
        ..StandbyStatus::default()
    });
    listener.stream.flush().await.expect("it is written");
    eventually("the slot moves", || async { place.confirmed().await == end }).await;
    listener.stream.finish().await.expect("an end");

    let mut listener = place.stream().await;
    place.mark("third").await;
    assert_eq!(listener.rows_until("third").await, [["a=only received"]]);
}
