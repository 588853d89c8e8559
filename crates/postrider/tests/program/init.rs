use crate::postrider::{Place, postgres};

/// A database of its own and names of its own for what the whole server shares.
fn place(prefix: &str) -> (Place, String) {
    let database = postgres().create_database(prefix).unwrap();
    let place = Place::for_url(&postgres().url(&database)).variable("POSTRIDER_POSTGRES_SLOT", &database);
    (place, database)
}

#[test]
fn it_makes_what_is_missing_and_the_second_time_finds_it() {
    let (place, slot) = place("init_twice");
    let first = place.run(&["init"]);
    assert_eq!((first.code, first.err.as_str()), (Some(0), ""), "{}", first.out);
    let lines: Vec<&str> = first.out.lines().collect();
    for made in
        ["created table public.outbox", "created publication postrider", &format!("created slot {slot}")]
    {
        assert!(lines.contains(&made), "{made}: {lines:?}");
    }
    let second = place.run(&["init"]);
    assert_eq!((second.code, second.err.as_str()), (Some(0), ""), "{}", second.out);
    let found = ["schema postrider", "table public.outbox", "publication postrider", &format!("slot {slot}")]
        .map(|what| format!("found {what}"));
    assert_eq!(second.out.lines().collect::<Vec<_>>(), found);
}

#[test]
fn a_dry_run_prints_a_script_that_works_and_touches_nothing() {
    let (place, database) = place("init_dry");
    let dry = place.run(&["init", "--dry-run"]);
    assert_eq!((dry.code, dry.err.as_str()), (Some(0), ""), "{}", dry.out);
    assert_eq!(place.run(&["init", "--dry-run"]).out, dry.out);

    // psql sends one statement after another; a slot cannot be made in one transaction with the rest.
    let (rest, slot) = dry.out.split_at(dry.out.find("select pg_create_logical_replication_slot").unwrap());
    postgres().execute(&database, rest).unwrap();
    postgres().execute(&database, slot).unwrap();
    let found = place.run(&["init"]);
    assert_eq!(found.code, Some(0));
    assert!(found.out.lines().all(|line| line.starts_with("found ")), "{}", found.out);
    let dry = place.run(&["init", "--dry-run"]);
    assert!(dry.out.lines().all(|line| line.is_empty() || line.starts_with("-- found ")), "{}", dry.out);
}

#[test]
fn init_reports_problems_with_remedies_and_changes_nothing() {
    let (place, database) = place("init_bad");
    postgres().execute(&database, "create table public.outbox (id int, aggregate_type text)").unwrap();
    for arguments in [&["init"][..], &["init", "--dry-run"]] {
        let run = place.run(arguments);
        assert_eq!(run.code, Some(1));
        assert!(run.err.contains("nothing was done: fix the "), "{}", run.err);
        assert!(!run.out.lines().any(|line| line.starts_with("created ")), "{}", run.out);
        assert!(run.err.contains("payload"), "{}", run.err);
    }
    postgres().execute(&database, "create publication postrider for table public.outbox").unwrap();
}

#[test]
fn another_table_and_other_columns_are_made_as_they_are_named() {
    let (place, database) = place("init_names");
    let place = place
        .variable("POSTRIDER_POSTGRES_TABLE", "shop.events")
        .variable("POSTRIDER_POSTGRES_PUBLICATION", "Events")
        .variable("POSTRIDER_COLUMNS_AGGREGATE_ID", "Order Id");
    let run = place.run(&["init"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    postgres().execute(&database, r#"select "Order Id", aggregate_type from shop.events"#).unwrap();
}

#[test]
fn init_reports_a_wrong_password_without_showing_it() {
    let url = postgres().url("postgres").replace(postgres().password(), "hunter2");
    let run = Place::for_url(&url).run(&["init"]);
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("password authentication failed"), "{}", run.err);
    assert!(run.err.contains("postgres.url"), "{}", run.err);
    assert!(!run.err.contains("hunter2"), "{}", run.err);
}

#[test]
fn a_partitioned_table_is_made_printed_and_found() {
    let (place, database) = place("init_partitioned");
    let dry = place.run(&["init", "--partitioned", "--dry-run"]);
    assert_eq!((dry.code, dry.err.as_str()), (Some(0), ""), "{}", dry.out);
    for part in
        ["partition by range (\"created_at\")", "publish_via_partition_root = true", "for values from ('"]
    {
        assert!(dry.out.contains(part), "{part}: {}", dry.out);
    }
    let (rest, slot) = dry.out.split_at(dry.out.find("select pg_create_logical_replication_slot").unwrap());
    postgres().execute(&database, rest).unwrap();
    postgres().execute(&database, slot).unwrap();
    let again = place.run(&["init", "--partitioned"]);
    assert_eq!((again.code, again.err.as_str()), (Some(0), ""), "{}", again.out);
    assert!(again.out.lines().all(|line| line.starts_with("found ")), "{}", again.out);

    let (place, _) = self::place("init_not_partitioned");
    assert_eq!(place.run(&["init"]).code, Some(0));
    let refused = place.run(&["init", "--partitioned"]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains("is not partitioned; run `postrider init` without --partitioned"),
        "{}",
        refused.err
    );
}
