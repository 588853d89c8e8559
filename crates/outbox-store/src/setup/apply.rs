use std::time::Duration;

use crate::connection::error::StoreError;
use crate::connection::session::Session;
use crate::setup::plan::{InitPlan, Line, Step};

// Two `init` at the same time, as two replicas of a deployment start them, take turns. The number is arbitrary
// ("postride" in ASCII) and must stay.
const LOCK: i64 = 0x706f_7374_7269_6465;

const SAY_SO_AFTER: Duration = Duration::from_secs(2);

/// Carries out a plan and reports each of its lines: what was found as it comes, what was made once it is.
///
/// Every step is a transaction of its own, so a slot is never made in one that wrote (which the server
/// refuses), and each may be repeated: what a concurrent `init` created counts as found.
///
/// # Errors
///
/// Definite, with nothing done, where the plan has problems; else as of any statement. What was done before is
/// kept and found the next time.
pub async fn apply(
    session: &Session,
    plan: &InitPlan,
    mut report: impl FnMut(&str),
) -> Result<(), StoreError> {
    if let Some(problem) = plan.problems.first() {
        return Err(StoreError::definite(
            "setting up the outbox",
            problem.what.clone(),
            problem.remedy.clone(),
        ));
    }
    let any = plan.steps().next().is_some();
    if any {
        session
            .run(&format!("select pg_advisory_lock({LOCK})"), "waiting for another `postrider init`")
            .await?;
    }
    for line in &plan.lines {
        match line {
            Line::Step(step) => {
                let outcome = carry_out(session, step, &mut report).await?;
                report(&format!("{outcome} {}", step.what));
            }
            line => report(&line.to_string()),
        }
    }
    if any {
        session.run(&format!("select pg_advisory_unlock({LOCK})"), "ending the setup").await?;
    }
    Ok(())
}

async fn carry_out(
    session: &Session,
    step: &Step,
    report: &mut impl FnMut(&str),
) -> Result<&'static str, StoreError> {
    let doing = format!("making {}", step.what);
    let mut running = std::pin::pin!(session.run(&step.sql, &doing));
    let outcome = match tokio::time::timeout(SAY_SO_AFTER, &mut running).await {
        Ok(outcome) => outcome,
        Err(_) => {
            report(&format!("{doing}: waiting for transactions that are open to end"));
            running.await
        }
    };
    match outcome {
        Ok(()) => Ok(step.done),
        // Duplicate table, schema, object (which a slot and a publication's member count as), or a row of the
        // catalog that came into being between the look and the insert.
        Err(error) if matches!(error.code(), Some("42P07" | "42P06" | "42710" | "23505")) => Ok("found"),
        Err(error) => Err(error),
    }
}
