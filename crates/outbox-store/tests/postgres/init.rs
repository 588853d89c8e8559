use outbox::Columns;
use outbox_store::{Names, Shape, connect, inspect, plan};

use crate::fixture::{Fixture, server, tls};

#[tokio::test]
async fn an_empty_database_gets_everything_and_a_second_init_finds_it() {
    let fixture = Fixture::empty().await;
    let slot = &fixture.names.slot;
    let first = fixture.init().await;
    assert_eq!(
        first,
        [
            "applied schema postrider, migration 0001_progress",
            "applied schema postrider, migration 0002_lifecycle",
            "applied schema postrider, migration 0003_held_events",
            "created table public.outbox",
            "created publication postrider",
            &format!("created slot {slot}"),
        ]
    );
    assert_eq!(fixture.check().await.problems, []);
    assert_eq!(fixture.check().await.notes, Vec::<String>::new());
    let second = fixture.init().await;
    assert_eq!(
        second,
        [
            "found schema postrider",
            "found table public.outbox",
            "found publication postrider",
            &format!("found slot {slot}"),
        ]
    );
    let published = "select concat_ws(' ', pubinsert, pubupdate, pubdelete, pubtruncate) from pg_publication";
    assert_eq!(fixture.text(published).await, "t f f f");
}

#[tokio::test]
async fn a_slot_follows_a_failover_where_the_server_can() {
    let fixture = Fixture::set_up().await;
    let failover = format!(
        "select coalesce(to_jsonb(s) ->> 'failover', 'not known') from pg_replication_slots s where slot_name = '{}'",
        fixture.names.slot
    );
    let expected = if server().version() >= 17 { "true" } else { "not known" };
    assert_eq!(fixture.text(&failover).await, expected);
}

#[tokio::test]
async fn a_dry_run_reads_only_and_prints_everything() {
    let fixture = Fixture::empty().await;
    let mut config: tokio_postgres::Config = server().url(&fixture.database).parse().expect("a URL");
    config.options("-c default_transaction_read_only=on");
    let session = connect(&config, &tls()).await.expect("the server is there");
    let found = inspect(&session, &fixture.names).await.expect("looking writes nothing");
    let script = plan(&found, &fixture.names, true, Shape::Plain).to_string();
    for part in ["create schema", "create table", "create publication", "pg_create_logical_replication_slot"]
    {
        assert!(script.contains(part), "{part}: {script}");
    }
    let again = inspect(&session, &fixture.names).await.expect("looking writes nothing");
    assert_eq!(found, again);
}

#[tokio::test]
async fn names_may_hold_anything() {
    let mut fixture = Fixture::empty().await;
    let column = |name: &str| format!("{name} \"{{status}}\" É.'\\");
    fixture.names = Names {
        table: "\"My.Schema\".\"Out\"\"box';{id}\"".parse().expect("a name"),
        columns: Columns {
            id: column("Id"),
            status: column("Status"),
            kafka_offset: column("Offset"),
            others: vec!["Te\"nant".to_owned(), column("Id")],
            ..Columns::default()
        },
        publication: "Pub \"1\" 'x\\".to_owned(),
        slot: fixture.names.slot.clone(),
    };
    let first = fixture.init().await;
    assert_eq!(first[3], "created table My.Schema.Out\"box';{id}");
    assert!(fixture.init().await.iter().all(|line| line.starts_with("found ")));
    assert_eq!(fixture.check().await.problems, []);
}

#[tokio::test]
async fn several_at_a_time_take_turns() {
    let fixture = Fixture::empty().await;
    let config: tokio_postgres::Config = server().url(&fixture.database).parse().expect("a URL");
    let mut plans = Vec::new();
    for _ in 0..4 {
        let session = connect(&config, &tls()).await.expect("the server is there");
        let found = inspect(&session, &fixture.names).await.expect("it can be looked at");
        plans.push((session, plan(&found, &fixture.names, true, Shape::Plain)));
    }
    let mut running = tokio::task::JoinSet::new();
    for (session, plan) in plans {
        running.spawn(async move { outbox_store::apply(&session, &plan, |_| {}).await });
    }
    while let Some(outcome) = running.join_next().await {
        outcome.expect("no panic").expect("what another has made is found");
    }
    assert_eq!(fixture.check().await.problems, []);
}

#[tokio::test]
async fn role_without_privileges_gets_every_grant_statement() {
    let mut fixture = Fixture::empty().await;
    fixture.execute("revoke create on schema public from public").await;
    let (role, config) = fixture.role("").await;
    fixture.session = connect(&config, &tls()).await.expect("it may log in");
    let problems = fixture.init_problems().await;
    let remedies: Vec<_> = problems.iter().filter_map(|problem| problem.split("; ").nth(1)).collect();
    assert_eq!(
        remedies,
        [
            format!("GRANT CREATE ON DATABASE \"{}\" TO \"{role}\"", fixture.database),
            format!("GRANT USAGE, CREATE ON SCHEMA \"public\" TO \"{role}\""),
            format!("GRANT CREATE ON DATABASE \"{}\" TO \"{role}\"", fixture.database),
            format!("ALTER ROLE \"{role}\" REPLICATION (on Amazon RDS: GRANT rds_replication TO it)"),
        ],
        "{problems:?}"
    );
    for remedy in remedies {
        fixture.execute(remedy.split(" (on").next().expect("a first part")).await;
    }
    fixture.init().await;
    assert_eq!(fixture.check().await.problems, []);
}

#[tokio::test]
async fn table_default_gives_an_event_its_id() {
    for fixture in [Fixture::set_up().await, Fixture::partitioned().await] {
        fixture
            .execute(
                "insert into outbox (aggregate_type, aggregate_id, event_type, payload)
                 values ('order', '1', 'order_placed', '{}'), ('order', '1', 'order_paid', '{}')",
            )
            .await;
        let versions =
            fixture.text("select string_agg(distinct substr(id::text, 15, 1), '') from outbox").await;
        assert_eq!(versions, if server().version() >= 18 { "7" } else { "4" });
    }
}

#[tokio::test]
async fn init_adds_the_replay_table_to_a_publication_of_an_earlier_version() {
    let fixture = Fixture::set_up().await;
    fixture.execute("alter publication postrider drop table postrider.replay").await;
    let problems = fixture.check().await.problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].to_string().contains("ADD TABLE postrider.replay"), "{problems:?}");
    let lines = fixture.init().await;
    assert!(
        lines.contains(&"extended publication postrider by table postrider.replay".to_owned()),
        "{lines:?}"
    );
    assert_eq!(fixture.check().await.problems, []);
}
