use crate::postrider::{Place, postgres};

const ID: &str = "00000000-0000-0000-0000-000000000001";

#[test]
fn what_selects_nothing_or_makes_no_sense_is_a_usage_error_before_any_connection() {
    for (arguments, expected) in [
        (&[][..], "no row is selected"),
        (&["--limit", "5"], "no row is selected"),
        (&["--wait", "--rate", "5"], "no row is selected"),
        (&["--id", "42"], "--id"),
        (&["--skip", "x"], "--skip"),
        (&["--cancel", ""], "--cancel"),
        (&["--status", "LOST"], "INIT, PUBLISH, COMPLETE and FAILED"),
        (&["--from", "yesterday"], "2026-01-31"),
        (&["--to", "2026-02-30"], "2026-01-31"),
        (&["--from", "2026-01-02", "--to", "2026-01-02"], "--from is not before --to"),
        (
            &["--from", "2026-01-02T01:00:00Z", "--to", "2026-01-02T01:30:00+01:00"],
            "--from is not before --to",
        ),
        (&["--all", "--limit", "0"], "--limit"),
        (&["--all", "--rate", "0"], "--rate"),
        (&["--all", "--rate", "-1"], "unexpected argument"),
        (&["--all", "--status", "FAILED"], "cannot be used with"),
        (&["--skip", ID, "--id", ID], "cannot be used with"),
        (&["--cancel", ID, "--all"], "cannot be used with"),
        (&["--cancel", ID, "--skip", ID], "cannot be used with"),
        (&["--all", "--dry-run", "--wait"], "cannot be used with"),
    ] {
        let arguments = [&["replay"], arguments].concat();
        let run = Place::for_url("postgres://user@127.0.0.1:1/nothing").run(&arguments);
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{arguments:?}: {}", run.err);
        assert!(run.err.contains(expected), "{arguments:?}: {}", run.err);
    }
}

#[test]
fn replay_help_documents_row_states() {
    let run = Place::new().run(&["replay", "--help"]);
    assert_eq!(run.code, Some(0));
    for expected in
        ["--skip", "--cancel", "--aggregate-type", "FAILED row is retried", "it is UTC", "Every row"]
    {
        assert!(run.out.contains(expected), "{expected}: {}", run.out);
    }
}

#[test]
fn without_write_back_there_is_nothing_to_replay_by() {
    let place = Place::for_url("postgres://user@127.0.0.1:1/nothing")
        .variable("POSTRIDER_WRITEBACK_ENABLED", "false");
    let run = place.run(&["replay", "--all"]);
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("writeback.enabled = false"), "{}", run.err);
}

#[test]
fn what_can_be_answered_without_a_relay_is() {
    let database = postgres().create_database("replay").unwrap();
    let slot = format!("slot_{database}");
    let place = Place::for_url(&postgres().url(&database)).variable("POSTRIDER_POSTGRES_SLOT", &slot);
    let run = place.run(&["init"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let nothing_requested = || {
        let assertion = "do $$ begin assert not exists (select from postrider.replay); end $$";
        postgres().execute(&database, assertion).unwrap();
    };

    let run = place.run(&["replay", "--all"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.out.contains("no row of public.outbox matches; nothing was requested"), "{}", run.out);
    nothing_requested();

    let insert = "insert into outbox (id, aggregate_type, aggregate_id, event_type, status)
         select lpad(n::text, 32, '0')::uuid, 'order', 'o', 'placed', case n when 1 then 'FAILED' else 'PUBLISH' end
         from generate_series(1, 3) as n";
    postgres().execute(&database, insert).unwrap();
    let run = place.run(&["replay", "--status", "failed", "--dry-run"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.out.starts_with("outbox.event.order  FAILED"), "{}", run.out);
    assert!(run.out.contains("1 row of 1 key would be sent"), "{}", run.out);
    nothing_requested();

    let run = place.run(&["replay", "--cancel", ID]);
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("has no replay"), "{}", run.err);
    let run = place.run(&["replay", "--skip", ID]);
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("no rows are held behind row"), "{}", run.err);
}
