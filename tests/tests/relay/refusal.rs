//! A record that the broker refuses.

use integration_tests::{NewRow, Stage, wait_until};

#[test]
fn a_record_too_large_stops_the_relay_with_its_row_and_reason_and_nothing_after_it_is_confirmed() {
    let stage = Stage::new();
    stage.create_topic("small", 1, &[("max.message.bytes", "20000")]);
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    stage.insert(&NewRow::of("small", 1, 1));
    wait_until("the first row is published", || stage.count("PUBLISH") == 1);
    let before = stage.log_end();
    let payload = Some(format!("\"{}\"", pseudo_random(50_000)));
    let large = NewRow { payload, ..NewRow::of("small", 2, 2) };
    stage.insert(&large);
    let after = stage.log_end();
    for number in 3..10 {
        stage.insert(&NewRow::of("small", number, number));
    }

    relay.wait_until_failed();
    let log = relay.log();
    assert!(log.contains(&large.id.to_string()), "{log}");
    assert!(log.contains("max.message.bytes"), "{log}");
    assert!(stage.confirmed() < after, "{} is before {after}, begun at {before}", stage.confirmed());

    // A restart meets the same row; a person lets it go.
    stage.relay().wait_until_failed();
    let sql = "update outbox set status = 'FAILED', last_error = 'too large' where id = $1";
    stage.client().execute(sql, &[&large.id]).expect("marked");
    let mut relay = stage.relay();
    relay.wait_until_streaming();
    wait_until("all others are published", || stage.count("PUBLISH") == 8);
    wait_until("the slot goes past the row", || stage.confirmed() > after);
    assert!(relay.stop().success());
    assert!(stage.records().iter().all(|record| record.id() != large.id));
}

/// Text that compression does not make small.
fn pseudo_random(length: usize) -> String {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + u8::try_from((state >> 33) % 26).unwrap_or(0))
    };
    (0..length).map(|_| next()).collect()
}
