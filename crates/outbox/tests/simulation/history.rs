//! One history from its seed to its end.

use std::panic::{AssertUnwindSafe, catch_unwind};

use outbox::OutOfOrder;

use crate::invariants::{Rule, Violation, Watch};
use crate::steps::Step;
use crate::tally::Tally;
use crate::world::World;

/// A history that broke a rule.
pub(crate) struct Failure {
    pub(crate) step: u64,
    pub(crate) violation: Violation,
    /// What happened up to there.
    pub(crate) trace: Vec<String>,
}

/// Everything under way needs far fewer steps than this to complete; a history that takes more is stuck.
const SETTLING_STEPS_MAX: usize = 20_000;

/// Lives through the history of `seed`.
pub(crate) fn live(seed: u64) -> Result<Tally, Box<Failure>> {
    // The trace is taken in a second run, of the failed histories only: it costs more than the history.
    attempt(seed, false).or_else(|_| attempt(seed, true))
}

fn attempt(seed: u64, is_traced: bool) -> Result<Tally, Box<Failure>> {
    let mut world = World::new(seed, is_traced);
    let result = catch_unwind(AssertUnwindSafe(|| run(&mut world)));
    let violation = match result {
        Ok(Ok(())) => {
            let mut tally = world.tally;
            tally.histories = 1;
            return Ok(tally);
        }
        Ok(Err(violation)) => violation,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
            Violation { rule: Rule::Acceptance, what: format!("panic: {text}") }
        }
    };
    Err(Box::new(Failure { step: world.tally.steps, violation, trace: world.trace.unwrap_or_default() }))
}

fn run(world: &mut World) -> Result<(), Violation> {
    let mut watch = Watch::new(world.plan.keys);
    for _ in 0..world.plan.steps {
        let Some(step) = choose(world) else { break };
        take(step, world, &mut watch, false)?;
    }
    world.note(|| "from here on everything is let through".to_owned());
    world.broker.relent();
    for _ in 0..SETTLING_STEPS_MAX {
        let possible: Vec<Step> =
            Step::ALL.into_iter().filter(|step| step.completes() && step.is_possible(world, true)).collect();
        if possible.is_empty() {
            watch.check_completion(world)?;
            if let Some(relay) = &world.relay {
                world.tally.run_ended(&relay.account);
            }
            return Ok(());
        }
        let step = world.random.pick(&possible);
        take(step, world, &mut watch, true)?;
    }
    watch.check_completion(world)?;
    Err(Violation { rule: Rule::Completion, what: "it goes round in circles".to_owned() })
}

fn choose(world: &mut World) -> Option<Step> {
    let mut weights = [0; Step::ALL.len()];
    for step in Step::ALL {
        if world.plan.weight(step) > 0 && step.is_possible(world, false) {
            weights[step as usize] = world.plan.weight(step);
        }
    }
    let total = weights.iter().sum::<usize>();
    let mut at = if total == 0 { return None } else { world.random.below(total) };
    Step::ALL.into_iter().find(|step| {
        let weight = weights[*step as usize];
        let is_chosen = at < weight;
        at = at.saturating_sub(weight);
        is_chosen
    })
}

fn take(step: Step, world: &mut World, watch: &mut Watch, is_settling: bool) -> Result<(), Violation> {
    world.tally.steps += 1;
    world.tally.taken[step as usize] += 1;
    step.take(world, is_settling)
        .map_err(|error: OutOfOrder| Violation { rule: Rule::Acceptance, what: error.to_string() })?;
    watch.check(world)
}
