//! One run: the relay, the shop, the data platform, what is done to them, and what came of it.

use anyhow::{Result, bail};

use crate::args::Args;
use crate::broker::read_all;
use crate::latency::Latency;
use crate::program::Program;
use crate::proof::{Evidence, examine};
use crate::report::{Performance, Report};
use crate::run::{Run, start_relay};
use crate::servers::Servers;
use crate::steps::Step;

/// All the relay's topics begin so, those it should not have made included.
const TOPIC_PREFIX: &str = "outbox.";

/// Plays the run to its end and gathers the evidence.
///
/// # Errors
/// The run itself broke: a program ended by itself, a server did not answer in time. A proof that does not
/// hold is no error.
pub(crate) async fn play(args: &Args, servers: &Servers, program: &Program) -> Result<Report> {
    program.show_success(&["init"]).await?;
    let mut run = Run::prepare(servers).await?;
    if !args.without_relay {
        run.relay = Some(start_relay(program, &run.database).await?);
        run.lose_a_record().await?;
    }
    run.join().await?;

    let sold_before = run.books.committed();
    run.sell(args).await?;
    let is_settled = run.settle("Waiting for the rest").await?;
    let latency = Latency::of(&run.books.entries(), sold_before, &run.arrivals.first())?;
    // A run that is stuck is not helped by more of it.
    if is_settled && run.relay.is_some() {
        run.replay(program).await?;
        run.settle("Waiting until the data platform has it all").await?;
        program.show_success(&["status"]).await?;
    }
    let Run { relay, arrivals, brokers, books, database, sequels, .. } = run;
    let relay = match relay {
        None => None,
        Some(relay) => {
            let step = Step::begin("Ending the relay with SIGTERM");
            let usage = relay.usage()?;
            let (status, drained_in) = relay.terminate().await?;
            step.done("The relay has ended");
            let verified = program.show(&["verify"]).await?;
            Some(Performance { usage, status, drained_in, verified })
        }
    };
    drop(arrivals);

    let step = Step::begin("Reading every record and every row");
    let records = tokio::task::spawn_blocking(move || read_all(&brokers, TOPIC_PREFIX)).await??;
    let rows = database.outbox().await?;
    step.done(format!("{} records and {} rows read", records.len(), rows.len()));

    let entries = books.entries();
    if !entries.in_doubt.is_empty() {
        bail!(
            "PostgreSQL did not answer {} commits: what is true of them is unknown",
            entries.in_doubt.len()
        );
    }
    let verdict = examine(Evidence {
        sold: &entries.sold,
        rolled_back: &entries.rolled_back,
        sequels: &sequels,
        rows: &rows,
        records: &records,
    });
    Ok(Report { verdict, latency, relay })
}
