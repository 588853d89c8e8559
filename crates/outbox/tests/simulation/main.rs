//! The core in a simulated world: thousands of histories of crashes, refusals and lost connections, each
//! following from its seed, with the guarantees checked after every step.
//!
//! `POSTRIDER_SIM_HISTORIES` sets how many; `POSTRIDER_SIM_SEED` replays one. `planted/` holds faults this
//! must find, and `script/planted` shows that it does.

mod broker;
mod database;
mod history;
mod invariants;
mod log;
mod plan;
mod random;
mod relay;
mod server;
mod steps;
mod tally;
mod world;

use std::hash::{BuildHasher, RandomState};

use crate::history::Failure;
use crate::tally::Tally;

/// Of each of the two tests.
const HISTORIES: u64 = 4_000;

/// From so many histories on, each thing that can happen must have happened.
const HISTORIES_TELLING: u64 = 1_000;

const TRACE_LINES: usize = 40;

#[test]
fn the_guarantees_hold_in_every_history_of_the_known_seeds() {
    if let Some(seed) = number_from("POSTRIDER_SIM_SEED") {
        println!("{}", live_all(seed, 1));
        return;
    }
    let tally = live_all(1, histories());
    println!("{tally}");
    if tally.histories >= HISTORIES_TELLING {
        assert_eq!(tally.missing(), None, "this never happened, so nothing was learned about it");
    }
}

#[test]
fn the_guarantees_hold_in_every_history_of_seeds_never_seen_before() {
    if number_from("POSTRIDER_SIM_SEED").is_some() {
        return;
    }
    let first = RandomState::new().hash_one(()) >> 16;
    println!("seeds from {first}");
    println!("{}", live_all(first, histories()));
}

fn histories() -> u64 {
    number_from("POSTRIDER_SIM_HISTORIES").unwrap_or(HISTORIES)
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} takes a number, not '{text}'")))
}

fn live_all(first: u64, histories: u64) -> Tally {
    let mut sum = Tally::default();
    for seed in first..first + histories {
        match history::live(seed) {
            Ok(tally) => sum += &tally,
            Err(failure) => panic!("{}", describe(seed, &failure)),
        }
    }
    sum
}

/// `script/planted` reads the first line.
fn describe(seed: u64, failure: &Failure) -> String {
    let Failure { step, violation, trace } = failure;
    let recent = &trace[trace.len().saturating_sub(TRACE_LINES)..];
    format!(
        "seed {seed}, step {step}: '{}' is broken: {}\n  {}\nto see it again:\n  \
         POSTRIDER_SIM_SEED={seed} cargo test --release -p outbox --test simulation -- --nocapture",
        violation.rule,
        violation.what,
        recent.join("\n  "),
    )
}
