use bytes::Bytes;
use wal_reader::{Change, StandbyStatus, Value};

use crate::support::{SlotFixture, eventually, shared};

#[tokio::test]
async fn values_arrive_unchanged() {
    let columns = "id uuid, doc jsonb, note text, raw bytea, number bigint, at timestamptz, empty text, nothing text, large text";
    let fixture = SlotFixture::new(shared(), columns).await;
    let mut reader = fixture.stream().await;
    let note = "quote ' double \" backslash \\ tab \t newline \n ümläut 漢字 🚚 \u{7f}\u{1}";
    let raw: Vec<u8> = (0..=255).collect();
    let large: String =
        (0..3_000_000_u32).map(|i| char::from(b'a' + (i.wrapping_mul(2_654_435_761) >> 28) as u8)).collect();
    fixture
        .sql
        .execute(
            "INSERT INTO t VALUES ('018f0000-0000-7000-8000-0000000000ff', '{\"b\": [1, \"ü\"], \"a\": null}', $1, $2, -2,
             '2000-01-01 00:00:01+00', '', NULL, $3)",
            &[&note, &raw, &large],
        )
        .await
        .expect("a row");
    fixture.mark("end").await;
    let changes = reader.until("end").await;
    let [Change::Begin { final_lsn, committed_at_us, .. }, Change::Relation(described), insert, commit] =
        &changes[..]
    else {
        panic!("{changes:?}")
    };
    let Change::Insert { relation, new } = insert else { panic!("{insert:?}") };
    let Change::Commit { commit_lsn, end_lsn, committed_at_us: commit_time_us } = commit else {
        panic!("{commit:?}")
    };
    assert!(final_lsn == commit_lsn && commit_lsn < end_lsn && committed_at_us == commit_time_us);
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
async fn rows_of_many_sizes_arrive_in_order() {
    let fixture = SlotFixture::new(shared(), "n text, filler text").await;
    let mut reader = fixture.stream().await;
    let sql = "INSERT INTO t SELECT n, repeat('x', (n * 7919) % 3000 + CASE WHEN n % 500 = 0 THEN 200000 ELSE 0 END)
               FROM generate_series(1, 5000) n";
    fixture.sql.execute(sql, &[]).await.expect("rows");
    fixture.mark("end").await;
    let rows = reader.rows_until("end").await;
    assert_eq!(rows.len(), 5000);
    for (n, row) in (1..).zip(&rows) {
        let filler = (n * 7919) % 3000 + if n % 500 == 0 { 200_000 } else { 0 };
        assert_eq!(row[0], format!("n={n}"));
        assert_eq!(row[1].len(), "filler=".len() + filler, "row {n}");
    }
}

#[tokio::test]
async fn columns_may_change_while_streaming() {
    let fixture = SlotFixture::new(shared(), "a text, b text").await;
    let mut reader = fixture.stream().await;
    let steps = [
        "INSERT INTO t VALUES ('a1', 'b1')",
        "ALTER TABLE t ADD c text DEFAULT 'c0'",
        "INSERT INTO t VALUES ('a2', 'b2', 'c2')",
        "ALTER TABLE t DROP a; ALTER TABLE t ADD a text; INSERT INTO t VALUES ('b3', 'c3', 'a3')",
        "ALTER TABLE t RENAME b TO z",
        "BEGIN; INSERT INTO t VALUES ('z4', 'c4', 'a4'); ALTER TABLE t DROP c; INSERT INTO t VALUES ('z5', 'a5'); COMMIT",
    ];
    for sql in steps {
        fixture.sql.batch_execute(sql).await.expect(sql);
    }
    fixture.mark("end").await;
    let changes = reader.until("end").await;
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
async fn rolled_back_rows_are_not_sent() {
    let fixture = SlotFixture::new(shared(), "a text").await;
    let mut reader = fixture.stream().await;
    let steps = [
        "BEGIN; INSERT INTO t VALUES ('rolled back'); ROLLBACK",
        "BEGIN; INSERT INTO t VALUES ('first'); SAVEPOINT s; INSERT INTO t VALUES ('in a savepoint'); ROLLBACK TO s;
         INSERT INTO t VALUES ('second'); COMMIT",
        "BEGIN; SAVEPOINT s; INSERT INTO t VALUES ('third'); RELEASE s; COMMIT",
        "UPDATE t SET a = 'changed'; DELETE FROM t; TRUNCATE t",
    ];
    for sql in steps {
        fixture.sql.batch_execute(sql).await.expect(sql);
    }
    fixture.mark("end").await;
    let changes = reader.until("end").await;
    let rows: Vec<Vec<String>> = changes.iter().filter_map(crate::support::row).collect();
    assert_eq!(rows, [["a=first"], ["a=second"], ["a=third"]]);
}

#[tokio::test]
async fn updates_deletes_and_truncates_are_decoded_as_other() {
    let fixture = SlotFixture::new(shared(), "a text primary key, b text").await;
    fixture
        .sql
        .batch_execute("ALTER PUBLICATION p SET (publish = 'insert, update, delete, truncate')")
        .await
        .expect("p");
    fixture
        .sql
        .batch_execute("CREATE TYPE mood AS ENUM ('calm'); ALTER TABLE t ADD m mood")
        .await
        .expect("a type");
    let mut reader = fixture.stream().await;
    let sql = "INSERT INTO t VALUES ('1', '2', 'calm'); UPDATE t SET b = '3'; UPDATE t SET a = '4'; DELETE FROM t; TRUNCATE t;
               INSERT INTO t VALUES ('5', '6', NULL)";
    fixture.sql.batch_execute(sql).await.expect(sql);
    fixture.mark("end").await;
    let changes = reader.until("end").await;
    let others: Vec<_> = changes
        .iter()
        .filter_map(|change| if let Change::Other(kind) = change { Some(format!("{kind:?}")) } else { None })
        .collect();
    // Type messages precede every Relation message, however often the relation is described.
    let others: Vec<_> = others.into_iter().filter(|kind| kind != "Type").collect();
    assert_eq!(others, ["Update", "Update", "Delete", "Truncate"]);
    let rows: Vec<Vec<String>> = changes.iter().filter_map(crate::support::row).collect();
    assert_eq!(rows, [["a=1", "b=2", "m=calm"], ["a=5", "b=6", "m=Some(Null)"]]);
}

#[tokio::test]
async fn logical_messages_are_not_sent() {
    let fixture = SlotFixture::new(shared(), "a text").await;
    let mut reader = fixture.stream().await;
    let sql = "SELECT pg_logical_emit_message(false, 'outside', 'x');
               BEGIN; INSERT INTO t VALUES ('x'); SELECT pg_logical_emit_message(true, 'inside', 'x'); COMMIT";
    fixture.sql.batch_execute(sql).await.expect(sql);
    fixture.mark("end").await;
    let rows: Vec<_> = reader.until("end").await.iter().filter_map(crate::support::row).collect();
    assert_eq!(rows, [["a=x"]]);
}

#[tokio::test]
async fn restart_resumes_after_the_confirmed_position() {
    let fixture = SlotFixture::new(shared(), "a text").await;
    let mut reader = fixture.stream().await;
    fixture.sql.execute("INSERT INTO t VALUES ('confirmed')", &[]).await.expect("a row");
    fixture.mark("first").await;
    assert_eq!(reader.rows_until("first").await, [["a=confirmed"]]);
    let end = reader.end;
    fixture.sql.execute("INSERT INTO t VALUES ('only received')", &[]).await.expect("a row");
    fixture.mark("second").await;
    assert_eq!(reader.rows_until("second").await, [["a=only received"]]);

    reader.stream.queue_status(&StandbyStatus {
        written: reader.end,
        flushed: end,
        ..StandbyStatus::default()
    });
    reader.stream.flush().await.expect("the update is written");
    eventually("confirmed_flush_lsn advances", || async { fixture.confirmed().await == end }).await;
    reader.stream.finish().await.expect("an end");

    let mut reader = fixture.stream().await;
    fixture.mark("third").await;
    assert_eq!(reader.rows_until("third").await, [["a=only received"]]);
}
