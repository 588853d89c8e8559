use testbed::Postgres;

use crate::fixture::Fixture;

#[tokio::test]
async fn a_table_of_another_make_comes_with_the_alter_table_that_makes_it_serve() {
    let fixture = Fixture::empty().await;
    fixture
        .execute(
            "create table outbox (id uuid primary key, aggregate_type varchar(50), aggregate_id bigint,
                                  event_type text, payload json)",
        )
        .await;
    let problems = fixture.init_problems().await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    let alter = problems[0].split("; ").find(|part| part.starts_with("ALTER TABLE")).expect("the remedy");
    fixture.execute(alter).await;
    fixture.init().await;
    let check = fixture.check().await;
    assert_eq!(check.problems, []);
    assert!(check.notes.iter().any(|note| note.contains("fillfactor = 50")), "{:?}", check.notes);
}

#[tokio::test]
async fn types_of_users_serve_where_their_values_are_text_and_are_refused_by_name_where_not() {
    let fixture = Fixture::set_up().await;
    fixture
        .execute(
            "create domain word as text check (value <> '');
             create domain short_word as word;
             create type kind as enum ('sold', 'shipped');
             alter table outbox alter aggregate_type type short_word, alter event_type type kind using 'sold'",
        )
        .await;
    assert_eq!(fixture.check().await.problems, []);

    fixture
        .execute(
            "create domain number as bigint;
             create domain document as jsonb;
             create type pair as (a text, b text);
             alter table outbox alter aggregate_id type number using 1, alter payload type document,
                                alter event_type type pair using null",
        )
        .await;
    let problems: Vec<_> = fixture.check().await.problems.iter().map(ToString::to_string).collect();
    let words = "it takes text, character varying, character, name, uuid, smallint, integer, bigint, boolean, an \
                 enum or a domain over text";
    assert_eq!(
        problems,
        [
            format!("column aggregate_id of public.outbox is public.number (domain over bigint); {words}"),
            format!("column event_type of public.outbox is public.pair; {words}"),
            "column payload of public.outbox is public.document (domain over jsonb); it takes jsonb, json, text, \
             character varying, bytea"
                .to_owned(),
        ]
    );
}

#[tokio::test]
async fn indexes_that_end_hot_updates_are_named_whatever_way_they_touch_a_column() {
    let fixture = Fixture::set_up().await;
    fixture
        .execute(
            "create index by_key on outbox (status);
             create index by_predicate on outbox (created_at) where status = 'INIT';
             create index by_expression on outbox (upper(kafka_topic));
             create index by_include on outbox (created_at) include (attempts);
             create index harmless on outbox (created_at, aggregate_id) where event_type = 'x'",
        )
        .await;
    let check = fixture.check().await;
    assert_eq!(check.problems, []);
    let named: Vec<_> = check.notes.iter().filter_map(|note| note.split(' ').nth(1)).collect();
    assert_eq!(named, ["by_expression", "by_include", "by_key", "by_predicate"]);
}

#[tokio::test]
async fn a_publication_of_another_table_is_extended() {
    let fixture = Fixture::empty().await;
    fixture.execute("create table other (); create publication postrider for table other").await;
    let lines = fixture.init().await;
    assert!(lines.contains(&"found publication postrider".to_owned()), "{lines:?}");
    for table in ["public.outbox", "postrider.replay"] {
        let extended = format!("extended publication postrider by table {table}");
        assert!(lines.contains(&extended), "{lines:?}");
    }
    assert!(
        lines.iter().any(|line| line.starts_with("note: publication postrider publishes update, delete"))
    );
    assert_eq!(fixture.check().await.problems, []);
}

#[tokio::test]
async fn a_publication_of_all_tables_serves_and_is_noted() {
    let fixture = Fixture::empty().await;
    fixture.execute("create publication postrider for all tables with (publish = 'insert')").await;
    fixture.init().await;
    let check = fixture.check().await;
    assert_eq!(check.problems, []);
    assert!(check.notes[0].contains("FOR ALL TABLES"), "{:?}", check.notes);
}

#[tokio::test]
async fn a_publication_without_inserts_is_refused() {
    let fixture = Fixture::empty().await;
    fixture.execute("create publication postrider with (publish = 'update')").await;
    let problems = fixture.init_problems().await;
    assert_eq!(
        problems,
        [
            "publication postrider does not publish inserts; ALTER PUBLICATION \"postrider\" SET (publish = 'insert')"
        ]
    );
}

#[tokio::test]
async fn a_row_filter_is_noted_and_a_column_list_that_leaves_a_part_out_refused_where_the_server_has_them() {
    let fixture = Fixture::set_up().await;
    let at_least_15 = "select (current_setting('server_version_num')::int >= 150000)::text";
    if fixture.text(at_least_15).await == "false" {
        return;
    }
    fixture
        .execute("alter publication postrider set table outbox where (event_type <> 'x'), postrider.replay")
        .await;
    let check = fixture.check().await;
    assert_eq!(check.problems, []);
    assert!(check.notes[0].contains("event_type <> 'x'"), "{:?}", check.notes);
    fixture.execute("alter publication postrider set table outbox (id, aggregate_type, aggregate_id), postrider.replay").await;
    let check = fixture.check().await;
    assert!(check.problems[0].what.contains("leaves out column event_type, payload"), "{:?}", check.problems);
}

#[tokio::test]
async fn a_partitioned_table_must_be_published_through_its_root() {
    let fixture = Fixture::empty().await;
    fixture
        .execute(
            "create table outbox (id uuid not null, aggregate_type text, aggregate_id text, event_type text,
                 payload jsonb, status text default 'INIT', created_at timestamptz default now(),
                 published_at timestamptz, completed_at timestamptz, kafka_topic text, kafka_partition int,
                 kafka_offset bigint, attempts int, last_attempt_at timestamptz, last_error text,
                 primary key (id, created_at)) partition by range (created_at);
             create table outbox_all partition of outbox default;
             create publication postrider for table outbox with (publish = 'insert')",
        )
        .await;
    let problems = fixture.init_problems().await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    fixture.execute(problems[0].split("; ").nth(1).expect("a remedy")).await;
    fixture.init().await;
    assert_eq!(fixture.check().await.problems, []);
}

#[tokio::test]
async fn a_slot_of_another_plugin_or_database_or_kind_is_refused() {
    let mut fixture = Fixture::empty().await;
    let slot = fixture.names.slot.clone();
    fixture
        .execute(&format!("select pg_create_logical_replication_slot('{slot}_plugin', 'test_decoding')"))
        .await;
    fixture.execute(&format!("select pg_create_physical_replication_slot('{slot}_physical')")).await;
    fixture
        .execute(&format!("select pg_create_logical_replication_slot('{slot}_temporary', 'pgoutput', true)"))
        .await;
    let other = Fixture::empty().await;
    other.execute(&format!("select pg_create_logical_replication_slot('{slot}_database', 'pgoutput')")).await;
    for (suffix, said) in [
        ("plugin", "has the plugin test_decoding"),
        ("physical", "is a physical one"),
        ("temporary", "is temporary"),
        ("database", "belongs to database"),
    ] {
        fixture.names.slot = format!("{slot}_{suffix}");
        let problems = fixture.init_problems().await;
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(said), "{problems:?}");
    }
}

#[tokio::test]
async fn a_slot_that_the_server_gave_up_is_lost() {
    let server =
        Postgres::builder().setting("max_slot_wal_keep_size", "1MB").start().expect("PostgreSQL starts");
    let fixture = Fixture::on(&server).await;
    fixture.init().await;
    for _ in 0..4 {
        fixture.execute("create table filler (); drop table filler").await;
        fixture.execute("select pg_switch_wal()").await;
    }
    fixture.execute("checkpoint").await;
    let problems = fixture.init_problems().await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("is lost"), "{problems:?}");
    let run: Vec<_> = fixture.check().await.problems.iter().map(ToString::to_string).collect();
    assert_eq!(run, problems);
}

#[tokio::test]
async fn a_server_without_logical_decoding_is_refused() {
    let server = Postgres::builder().setting("wal_level", "replica").start().expect("PostgreSQL starts");
    let problems = Fixture::on(&server).await.init_problems().await;
    assert_eq!(
        problems,
        ["wal_level is replica; ALTER SYSTEM SET wal_level = logical, then restart the server"]
    );
}
