//! `plan` and `problems_for_run` decide from values of the catalog, without a server.

use crate::connection::names::Names;
use crate::retention::month::Month;
use crate::setup::catalog::{
    CatalogColumn, CatalogIndex, CatalogPartition, CatalogPublication, CatalogRole, CatalogSchema,
    CatalogServer, CatalogSlot, CatalogSnapshot, CatalogTable, PublishedTable,
};
use crate::setup::plan::{InitPlan, Shape, plan};
use crate::setup::preflight::check::problems_for_run;
use crate::setup::preflight::needs::RunNeeds;
use crate::setup::preflight::problem::Problem;

const NEEDS: RunNeeds = RunNeeds { write_back: true, retention: false };

fn nothing() -> CatalogSnapshot {
    CatalogSnapshot {
        server: CatalogServer {
            version_num: 170_002,
            version: "17.2".to_owned(),
            standby: false,
            wal_level: "logical".to_owned(),
            slots_max: 10,
            slots: 0,
            database: "shop".to_owned(),
            month: Month::new(2026, 11),
        },
        role: CatalogRole { name: "relay".to_owned(), replication: true, create_in_database: true },
        table_schema: Some(CatalogSchema { usage: true, create: true }),
        table: None,
        publication: None,
        slot: None,
        migrations: Vec::new(),
        missing_privileges: Vec::new(),
        owns_replay: None,
    }
}

fn column(name: &str, type_name: &str) -> CatalogColumn {
    CatalogColumn {
        name: name.to_owned(),
        type_name: type_name.to_owned(),
        text_of_user: false,
        generated: false,
        default: (name == "status").then(|| "'INIT'::text".to_owned()),
        select: true,
        update: true,
    }
}

fn index(name: &str, columns: &[&str]) -> CatalogIndex {
    CatalogIndex {
        name: name.to_owned(),
        usable: true,
        ordered: true,
        leads_with: columns.first().map(|name| (*name).to_owned()),
        touches: columns.iter().map(|name| (*name).to_owned()).collect(),
        ends_hot: true,
    }
}

fn everything() -> CatalogSnapshot {
    let time = "timestamp with time zone";
    let columns = [
        ("id", "uuid"),
        ("aggregate_type", "text"),
        ("aggregate_id", "text"),
        ("event_type", "text"),
        ("payload", "jsonb"),
        ("headers", "jsonb"),
        ("topic", "text"),
        ("partition_key", "text"),
        ("created_at", time),
        ("status", "text"),
        ("published_at", time),
        ("completed_at", time),
        ("kafka_topic", "text"),
        ("kafka_partition", "integer"),
        ("kafka_offset", "bigint"),
        ("attempts", "integer"),
        ("last_attempt_at", time),
        ("last_error", "text"),
    ];
    CatalogSnapshot {
        table: Some(CatalogTable {
            kind: "r".to_owned(),
            logged: true,
            owned: true,
            row_security: false,
            delete: true,
            fillfactor: 50,
            partitions: Vec::new(),
            columns: columns.iter().map(|(name, type_name)| column(name, type_name)).collect(),
            indexes: vec![index("outbox_pkey", &["id"]), index("outbox_created_at", &["created_at", "id"])],
        }),
        publication: Some(CatalogPublication {
            owned: true,
            all_tables: false,
            inserts: true,
            more: Vec::new(),
            via_root: true,
            published_table: Some(PublishedTable { row_filter: None, columns: None }),
            replay: true,
        }),
        slot: Some(CatalogSlot {
            plugin: Some("pgoutput".to_owned()),
            database: Some("shop".to_owned()),
            temporary: false,
            wal_status: Some("reserved".to_owned()),
            invalidation_reason: None,
            failover: Some(true),
        }),
        migrations: vec![1, 2, 3],
        owns_replay: Some(true),
        ..nothing()
    }
}

fn planned(catalog: &CatalogSnapshot) -> InitPlan {
    plan(catalog, &Names::default(), true, Shape::Plain)
}

/// The problems of `init` and of `run` with what `change` makes of a database that has everything.
fn problems_of(change: impl FnOnce(&mut CatalogSnapshot)) -> (Vec<String>, Vec<String>) {
    let mut catalog = everything();
    change(&mut catalog);
    let text = |problems: Vec<Problem>| problems.iter().map(Problem::to_string).collect::<Vec<_>>();
    let run = problems_for_run(&catalog, &Names::default(), NEEDS);
    (text(planned(&catalog).problems), text(run.problems))
}

/// One and the same problem for both.
fn problem_of(change: impl FnOnce(&mut CatalogSnapshot)) -> String {
    let (init, run) = problems_of(change);
    assert_eq!(init, run);
    assert_eq!(init.len(), 1, "{init:?}");
    init.concat()
}

fn table(catalog: &mut CatalogSnapshot) -> &mut CatalogTable {
    catalog.table.as_mut().expect("it is there")
}

fn publication(catalog: &mut CatalogSnapshot) -> &mut CatalogPublication {
    catalog.publication.as_mut().expect("it is there")
}

fn slot(catalog: &mut CatalogSnapshot) -> &mut CatalogSlot {
    catalog.slot.as_mut().expect("it is there")
}

#[test]
fn an_empty_database_gets_schema_table_publication_and_slot_in_this_order() {
    let plan = planned(&nothing());
    let steps: Vec<_> = plan.steps().map(|step| step.what.as_str()).collect();
    assert_eq!(
        steps,
        [
            "schema postrider, migration 0001_progress",
            "schema postrider, migration 0002_lifecycle",
            "schema postrider, migration 0003_held_events",
            "table public.outbox",
            "publication postrider",
            "slot postrider"
        ]
    );
    assert_eq!(plan.problems, []);
    let script = plan.to_string();
    assert!(script.contains("create table if not exists \"public\".\"outbox\""), "{script}");
    assert!(
        script.contains("pg_create_logical_replication_slot('postrider', 'pgoutput', failover => true)"),
        "{script}"
    );
}

#[test]
fn where_everything_is_there_nothing_is_done() {
    let plan = planned(&everything());
    let lines: Vec<_> = plan.lines.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "found schema postrider",
            "found table public.outbox",
            "found publication postrider",
            "found slot postrider"
        ]
    );
    assert_eq!(problems_of(|_| {}), (Vec::new(), Vec::new()));
}

#[test]
fn run_needs_everything_and_names_init() {
    let run = problems_for_run(&nothing(), &Names::default(), NEEDS);
    let problems: Vec<_> = run.problems.iter().map(Problem::to_string).collect();
    assert_eq!(
        problems,
        [
            "there is no table public.outbox; run `postrider init`",
            "there is no publication postrider; run `postrider init`",
            "there is no slot postrider; run `postrider init`; if there was a slot before, rows that were committed \
             since its last confirmed position stay INIT until the relay finds them at its start, once they are older \
             than reconcile.init_after",
            "schema postrider lacks migration 0001_progress; run `postrider init`",
        ]
    );
}

#[test]
fn a_pure_relay_needs_no_schema_and_no_status_columns() {
    let mut catalog = everything();
    catalog.migrations.clear();
    table(&mut catalog).columns.truncate(5);
    table(&mut catalog).indexes.clear();
    let without = RunNeeds { write_back: false, ..NEEDS };
    assert_eq!(problems_for_run(&catalog, &Names::default(), without).problems, []);
    let plan = plan(&catalog, &Names::default(), false, Shape::Plain);
    assert_eq!((plan.problems.len(), plan.steps().count()), (0, 0));
}

#[test]
fn servers_that_cannot_are_named_with_what_helps() {
    assert_eq!(
        problem_of(|catalog| catalog.server.wal_level = "replica".to_owned()),
        "wal_level is replica; ALTER SYSTEM SET wal_level = logical, then restart the server"
    );
    let old = problem_of(|catalog| {
        catalog.server.version_num = 130_011;
        catalog.server.version = "13.11".to_owned();
    });
    assert_eq!(old, "the server is PostgreSQL 13.11; Postrider needs PostgreSQL 14 or later");
    let (init, _) = problems_of(|catalog| catalog.server.standby = true);
    assert_eq!(init, ["the server is a standby; run `postrider init` against the primary"]);
}

#[test]
fn a_missing_column_comes_with_its_alter_table() {
    let problem = problem_of(|catalog| {
        table(catalog).columns.retain(|column| !["status", "kafka_offset"].contains(&column.name.as_str()));
    });
    assert_eq!(
        problem,
        "table public.outbox has no column status, kafka_offset; ALTER TABLE \"public\".\"outbox\" ADD COLUMN \
         \"status\" text not null default 'INIT', ADD COLUMN \"kafka_offset\" bigint; or map the names under \
         [columns], or set writeback.enabled = false"
    );
    let optional = ["headers", "topic", "partition_key", "created_at"];
    let without = problems_of(|catalog| {
        table(catalog).columns.retain(|column| !optional.contains(&column.name.as_str()))
    });
    assert_eq!(without, (Vec::new(), Vec::new()));
}

#[test]
fn a_column_of_a_type_that_cannot_serve_is_named() {
    for (name, type_name, takes) in [
        ("id", "text", "uuid"),
        ("payload", "integer", "jsonb, json, text, character varying, bytea"),
        ("kafka_offset", "integer", "bigint"),
    ] {
        let problem = problem_of(|catalog| {
            let column = table(catalog).columns.iter_mut().find(|column| column.name == name);
            column.expect("it is there").type_name = type_name.to_owned();
        });
        assert_eq!(problem, format!("column {name} of public.outbox is {type_name}; it takes {takes}"));
    }
}

#[test]
fn a_table_that_is_not_in_the_log_or_no_table_is_named() {
    assert!(problem_of(|catalog| table(catalog).logged = false).contains("SET LOGGED"));
    assert!(
        problem_of(|catalog| table(catalog).kind = "v".to_owned()).starts_with("public.outbox is no table")
    );
    assert!(problem_of(|catalog| table(catalog).indexes.clear()).contains("ADD PRIMARY KEY (\"id\")"));
}

#[test]
fn a_publication_that_cannot_serve_is_named() {
    assert!(problem_of(|catalog| publication(catalog).inserts = false).contains("SET (publish = 'insert')"));
    let partitions = problem_of(|catalog| {
        table(catalog).kind = "p".to_owned();
        publication(catalog).via_root = false;
    });
    assert!(partitions.contains("publish_via_partition_root"), "{partitions}");
    let listed = problem_of(|catalog| {
        let columns =
            ["id", "aggregate_type", "aggregate_id", "event_type", "headers", "topic", "partition_key"];
        let columns = columns.map(str::to_owned).to_vec();
        publication(catalog).published_table =
            Some(PublishedTable { row_filter: None, columns: Some(columns) });
    });
    assert!(listed.starts_with("publication postrider leaves out column payload, created_at"), "{listed}");
}

#[test]
fn a_publication_without_the_table_is_extended_by_init_and_refused_by_run() {
    let mut catalog = everything();
    publication(&mut catalog).published_table = None;
    let plan = planned(&catalog);
    let steps: Vec<_> = plan.steps().map(|step| step.sql.as_str()).collect();
    assert_eq!(steps, ["alter publication \"postrider\" add table \"public\".\"outbox\";\n"]);
    assert_eq!(
        problems_for_run(&catalog, &Names::default(), NEEDS).problems[0].to_string(),
        "publication postrider does not publish table public.outbox; run `postrider init`"
    );
}

#[test]
fn what_a_publication_does_beyond_need_is_noted() {
    let mut catalog = everything();
    publication(&mut catalog).all_tables = true;
    publication(&mut catalog).more = vec!["update".to_owned(), "delete".to_owned()];
    publication(&mut catalog).published_table =
        Some(PublishedTable { row_filter: Some("(a > 1)".to_owned()), columns: None });
    let run = problems_for_run(&catalog, &Names::default(), NEEDS);
    assert_eq!(run.problems, []);
    let notes = run.notes.join("\n");
    for said in ["FOR ALL TABLES", "publishes update, delete besides inserts", "with (a > 1)"] {
        assert!(notes.contains(said), "{said}: {notes}");
    }
}

#[test]
fn a_slot_that_cannot_serve_is_named() {
    for (change, said) in [
        (
            &(|slot: &mut CatalogSlot| slot.plugin = Some("wal2json".to_owned()))
                as &dyn Fn(&mut CatalogSlot),
            "wal2json",
        ),
        (&|slot| slot.plugin = None, "a physical one"),
        (&|slot| slot.database = Some("other".to_owned()), "belongs to database other, not shop"),
        (&|slot| slot.temporary = true, "temporary"),
        (&|slot| slot.wal_status = Some("lost".to_owned()), "is lost"),
        (&|slot| slot.invalidation_reason = Some("idle_timeout".to_owned()), "invalidated it (idle_timeout)"),
    ] {
        let problem = problem_of(|catalog| change(slot(catalog)));
        assert!(
            problem.contains(said) && problem.contains("pg_drop_replication_slot('postrider')"),
            "{problem}"
        );
    }
}

#[test]
fn role_without_privileges_gets_the_grant_statements() {
    let mut catalog = nothing();
    catalog.role.create_in_database = false;
    catalog.role.replication = false;
    catalog.server.slots = 10;
    let problems: Vec<_> = planned(&catalog).problems.iter().map(Problem::to_string).collect();
    let grant = "GRANT CREATE ON DATABASE \"shop\" TO \"relay\"";
    assert_eq!(problems[0], format!("role relay may not create schema postrider in database shop; {grant}"));
    assert_eq!(
        problems[1],
        format!("role relay may not create publication postrider in database shop; {grant}")
    );
    assert!(problems[2].starts_with("role relay may not replicate; ALTER ROLE \"relay\" REPLICATION"));
    assert!(
        problems[3].starts_with("all 10 replication slots are taken; ALTER SYSTEM SET max_replication_slots")
    );
}

#[test]
fn an_index_on_a_column_that_changes_is_a_warning_and_a_full_page_a_note() {
    let mut catalog = everything();
    table(&mut catalog).indexes.extend([
        index("by_status", &["created_at", "status"]),
        index("by_type", &["created_at", "event_type"]),
        CatalogIndex { ends_hot: false, ..index("brin", &["created_at", "status"]) },
    ]);
    table(&mut catalog).fillfactor = 100;
    let lines: Vec<_> = planned(&catalog).lines.iter().map(ToString::to_string).collect();
    let warnings: Vec<_> = lines.iter().filter(|line| line.starts_with("warning")).collect();
    assert_eq!(warnings.len(), 1, "{lines:?}");
    assert!(warnings[0].contains("index by_status of public.outbox covers status"), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.starts_with("note") && line.contains("SET (fillfactor = 50)")),
        "{lines:?}"
    );
}

#[test]
fn a_name_that_the_server_would_cut_is_refused_before_it_is_used() {
    let mut names = Names { slot: "My-Slot".to_owned(), ..Names::default() };
    names.table.name = "o".repeat(64);
    let problems: Vec<_> =
        plan(&nothing(), &names, true, Shape::Plain).problems.iter().map(Problem::to_string).collect();
    assert!(
        problems[0].starts_with("postgres.table: 'ooo") && problems[0].ends_with("a name has 1 to 63 bytes")
    );
    assert!(problems[1].starts_with("postgres.slot: 'My-Slot' cannot be"), "{problems:?}");
}

fn partition(month: Month) -> CatalogPartition {
    CatalogPartition {
        name: month.partition(&Names::default().table),
        month: Some(month),
        default: false,
        kind: "r".to_owned(),
        fillfactor: 50,
    }
}

#[test]
fn a_table_is_partitioned_from_this_month_on_and_over_the_end_of_a_year() {
    let plan = plan(&nothing(), &Names::default(), true, Shape::Monthly);
    let steps: Vec<_> = plan.steps().filter(|step| step.what.starts_with("table")).collect();
    assert_eq!(steps.len(), 1);
    assert_eq!(steps[0].what, "table public.outbox, in monthly partitions");
    let partitions: Vec<_> = steps[0].sql.lines().filter(|line| line.contains(" partition of ")).collect();
    assert_eq!(
        partitions,
        [
            "create table if not exists \"public\".\"outbox_default\" partition of \"public\".\"outbox\" default with (fillfactor = 50);",
            "create table \"public\".\"outbox_2026_11\" partition of \"public\".\"outbox\" for values from ('2026-11-01 00:00:00+00') to ('2026-12-01 00:00:00+00') with (fillfactor = 50);",
            "create table \"public\".\"outbox_2026_12\" partition of \"public\".\"outbox\" for values from ('2026-12-01 00:00:00+00') to ('2027-01-01 00:00:00+00') with (fillfactor = 50);",
            "create table \"public\".\"outbox_2027_01\" partition of \"public\".\"outbox\" for values from ('2027-01-01 00:00:00+00') to ('2027-02-01 00:00:00+00') with (fillfactor = 50);",
        ]
    );
}

#[test]
fn a_table_that_is_not_partitioned_is_not_made_so() {
    let plan = plan(&everything(), &Names::default(), true, Shape::Monthly);
    assert_eq!(
        plan.problems.iter().map(Problem::to_string).collect::<Vec<_>>(),
        [
            "table public.outbox is there already and is not partitioned; run `postrider init` without --partitioned, \
          or set postgres.table to another name"
        ]
    );
}

#[test]
fn missing_partitions_need_the_owner_of_the_table() {
    let mut catalog = everything();
    table(&mut catalog).kind = "p".to_owned();
    table(&mut catalog).partitions = vec![partition(Month::new(2026, 10)), partition(Month::new(2026, 11))];
    let steps: Vec<_> = planned(&catalog).steps().map(|step| step.what.clone()).collect();
    assert_eq!(
        steps,
        [
            "partition public.outbox_2026_12 of public.outbox",
            "partition public.outbox_2027_01 of public.outbox"
        ]
    );
    assert!(problems_for_run(&catalog, &Names::default(), NEEDS).partitioned);
    table(&mut catalog).owned = false;
    assert!(
        planned(&catalog).problems[0].what.contains("may not add partitions"),
        "{:?}",
        planned(&catalog).problems
    );
    table(&mut catalog).partitions.iter_mut().for_each(|partition| partition.month = None);
    assert_eq!((planned(&catalog).steps().count(), planned(&catalog).problems), (0, Vec::new()));
    assert!(!problems_for_run(&catalog, &Names::default(), NEEDS).partitioned);
}

#[test]
fn a_full_partition_is_noted_unless_its_month_is_over() {
    let mut catalog = everything();
    table(&mut catalog).kind = "p".to_owned();
    table(&mut catalog).fillfactor = 100;
    table(&mut catalog).partitions = (9..=12)
        .map(|month| CatalogPartition { fillfactor: 100, ..partition(Month::new(2026, month)) })
        .chain([partition(Month::new(2027, 1))])
        .collect();
    let notes = problems_for_run(&catalog, &Names::default(), NEEDS).notes;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(
        notes[0].starts_with(
            "2 partition(s) of public.outbox have a fillfactor above 90 (\"public\".\"outbox_2026_11\", "
        ),
        "{notes:?}"
    );
}

#[test]
fn without_an_index_on_the_time_of_creation_the_statement_that_makes_it_is_noted() {
    let note = |kind: &str, columns: &[&str], ordered| {
        let mut catalog = everything();
        table(&mut catalog).kind = kind.to_owned();
        table(&mut catalog).indexes[1] = CatalogIndex { ordered, ..index("by_time", columns) };
        let notes = problems_for_run(&catalog, &Names::default(), NEEDS).notes;
        notes.concat().rsplit("; ").next().unwrap_or_default().to_owned()
    };
    let made = |concurrently| {
        format!("CREATE INDEX{concurrently} ON \"public\".\"outbox\" (\"created_at\", \"id\")")
    };
    assert_eq!(note("r", &["id", "created_at"], true), made(" CONCURRENTLY"));
    assert_eq!(note("r", &["created_at"], false), made(" CONCURRENTLY"));
    assert_eq!(note("p", &["id", "created_at"], true), made(""));
    assert_eq!(note("r", &["created_at"], true), "");
}

#[test]
fn retention_needs_to_delete_and_to_find_what_is_old() {
    let needs = RunNeeds { retention: true, ..NEEDS };
    let mut catalog = everything();
    assert_eq!(problems_for_run(&catalog, &Names::default(), needs).problems, []);
    table(&mut catalog).delete = false;
    table(&mut catalog).indexes.truncate(1);
    let problems = problems_for_run(&catalog, &Names::default(), needs).problems;
    let problems: Vec<_> = problems.iter().map(Problem::to_string).collect();
    assert_eq!(
        problems,
        [
            "role relay may not DELETE in table public.outbox; GRANT DELETE ON \"public\".\"outbox\" TO \"relay\"",
            "no index of public.outbox begins with created_at: retention would read the whole table for every batch; \
             CREATE INDEX CONCURRENTLY ON \"public\".\"outbox\" (\"created_at\", \"id\"); or unset \
             retention.complete_after",
        ]
    );
    table(&mut catalog).columns.retain(|column| column.name != "created_at");
    let problems = problems_for_run(&catalog, &Names::default(), needs).problems;
    assert!(problems[1].what.contains("has no column created_at"), "{problems:?}");
    assert_eq!(problems_for_run(&catalog, &Names::default(), NEEDS).problems, []);
}

#[test]
fn publication_without_replay_table_is_extended_by_init_and_a_problem_for_run() {
    let mut catalog = everything();
    if let Some(publication) = &mut catalog.publication {
        publication.replay = false;
    }
    let names = Names::default();
    let steps: Vec<_> = planned(&catalog).steps().map(|step| step.sql.clone()).collect();
    assert_eq!(steps, ["alter publication \"postrider\" add table postrider.replay;\n"]);
    let problems = problems_for_run(&catalog, &names, NEEDS).problems;
    let text = problems[0].to_string();
    assert!(text.contains("ALTER PUBLICATION \"postrider\" ADD TABLE postrider.replay"), "{text}");
    let without_write_back = RunNeeds { write_back: false, retention: false };
    assert_eq!(problems_for_run(&catalog, &names, without_write_back).problems, []);
    assert_eq!(plan(&catalog, &names, false, Shape::Plain).steps().count(), 0);
}

#[test]
fn publication_of_a_new_database_covers_the_outbox_and_replay_requests() {
    let create = |write_back| {
        let plan = plan(&nothing(), &Names::default(), write_back, Shape::Plain);
        plan.steps().find(|step| step.sql.starts_with("create publication")).expect("a step").sql.clone()
    };
    assert!(
        create(true).contains("for table \"public\".\"outbox\", postrider.replay with"),
        "{}",
        create(true)
    );
    assert!(create(false).contains("for table \"public\".\"outbox\" with"), "{}", create(false));
}

#[test]
fn publication_needs_the_owner_of_the_replay_table() {
    let mut catalog = everything();
    catalog.owns_replay = Some(false);
    assert_eq!(planned(&catalog).problems, [], "it is published already");
    catalog.publication = None;
    assert!(planned(&catalog).problems[0].to_string().contains("postrider.replay"));
}
