use crate::postrider::Place;

#[test]
fn a_usage_error_exits_2() {
    for arguments in [&[][..], &["fly"], &["init", "--wet-run"], &["run", "--config"]] {
        let run = Place::new().run(arguments);
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{arguments:?}: {}", run.err);
    }
}

#[test]
fn help_and_version_exit_0_and_show_the_commands_there_are() {
    let run = Place::new().run(&["--help"]);
    assert_eq!(run.code, Some(0));
    for expected in ["init", "run", "replay", "status", "verify", "--config", "64 bad configuration"] {
        assert!(run.out.contains(expected), "{}", run.out);
    }
    assert!(!run.out.contains("doctor"), "{}", run.out);
    let run = Place::new().run(&["--version"]);
    assert_eq!(run.out, format!("postrider {}\n", env!("CARGO_PKG_VERSION")));
}
