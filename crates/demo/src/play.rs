//! One run: the relay, the shop, the data platform, and what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use shop::{Day, Odds, Pace, Shop};
use tokio::sync::watch;

use crate::args::Args;
use crate::arrivals::Arrivals;
use crate::broker::read_all;
use crate::database::Database;
use crate::latency::Latency;
use crate::ledger::Books;
use crate::proof::{Evidence, examine};
use crate::relay::{Program, Relay};
use crate::report::{Performance, Report};
use crate::servers::Servers;
use crate::steps::Step;

const START: Duration = Duration::from_secs(60);
/// How long nothing may move before what has not arrived counts as lost.
const STANDSTILL: Duration = Duration::from_secs(15);
const TICK: Duration = Duration::from_millis(100);
const TILLS: u16 = 8;
/// All the relay's topics begin so, those it should not have made included.
const TOPIC_PREFIX: &str = "outbox.";

/// Plays the run to its end and gathers the evidence.
///
/// # Errors
/// The run itself broke: a program ended by itself, a server did not answer in time. A proof that does not
/// hold is no error.
pub(crate) async fn play(args: &Args, servers: &Servers, program: &Program) -> Result<Report> {
    println!("postrider init:");
    program.init().await?;
    let database = Database::connect(&servers.postgres_url()).await?;

    let mut run = Run { relay: None, arrivals: Arrivals::start(servers.kafka_brokers())? };
    if !args.without_relay {
        run.relay = Some(start_relay(program, &database).await?);
    }
    run.join().await?;

    let books = run.sell(args, servers).await?;
    run.wait_for_arrivals(&books, &database).await?;
    let Run { relay, arrivals } = run;
    let relay = match relay {
        None => None,
        Some(relay) => {
            let step = Step::begin("Ending the relay with SIGTERM");
            let usage = relay.usage()?;
            let (status, drained_in) = relay.terminate().await?;
            step.done("The relay has ended");
            Some(Performance { usage, status, drained_in })
        }
    };
    let arrived = arrivals.stop();

    let step = Step::begin("Reading every record and every row");
    let brokers = servers.kafka_brokers().to_owned();
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
        rows: &rows,
        records: &records,
    });
    Ok(Report { verdict, latency: Latency::of(&entries, &arrived)?, relay })
}

/// Starts the relay and waits until it reads its slot.
pub(crate) async fn start_relay(program: &Program, database: &Database) -> Result<Relay> {
    let step = Step::begin("Starting the relay");
    let mut relay = program.run()?;
    let deadline = Instant::now() + START;
    while !database.slot_is_active().await? {
        relay.check()?;
        if Instant::now() > deadline {
            bail!("the relay did not open its slot within {START:?}{}", crate::relay::tail(&program.log));
        }
        tokio::time::sleep(TICK).await;
    }
    step.done(format!("`postrider run` reads the WAL; its log: {}", program.log.display()));
    Ok(relay)
}

/// What runs while the shop sells.
struct Run {
    relay: Option<Relay>,
    arrivals: Arrivals,
}

impl Run {
    fn check(&mut self) -> Result<()> {
        self.arrivals.check()?;
        self.relay.as_mut().map_or(Ok(()), Relay::check)
    }

    /// Waits until the data platform reads, so that the first latencies are the relay's.
    async fn join(&mut self) -> Result<()> {
        let step = Step::begin("Starting the data platform");
        let deadline = Instant::now() + START;
        while self.arrivals.partitions() == 0 {
            self.check()?;
            if Instant::now() > deadline {
                bail!("Kafka gave the data platform no partitions within {START:?}");
            }
            tokio::time::sleep(TICK).await;
        }
        step.done(format!("The data platform reads {} partitions", self.arrivals.partitions()));
        Ok(())
    }

    async fn sell(&mut self, args: &Args, servers: &Servers) -> Result<Arc<Books>> {
        let books = Arc::new(Books::default());
        let shop = Shop { postgres: servers.postgres_url().parse()?, outbox: "public.outbox".to_owned() };
        let open_for = Duration::from_secs(args.seconds);
        let rate = Some(args.rate).filter(|&rate| rate > 0);
        let pace = Pace { rate, open_for: Some(open_for), orders: None };
        let day = Day { pace, odds: Odds::default(), tills: TILLS, seed: 1 };

        let mut step = Step::timed(format!("Selling for {} s", args.seconds), open_for);
        let (_open, closed) = watch::channel(false);
        let mut selling = std::pin::pin!(shop::sell(&shop, day, books.clone(), closed));
        let mut ticks = tokio::time::interval(TICK);
        let deadline = Instant::now() + open_for + START;
        loop {
            tokio::select! {
                sold = &mut selling => {
                    sold.context("the shop")?;
                    break;
                }
                _ = ticks.tick() => {
                    self.check()?;
                    step.at(format!("{} rows committed, {} arrived", books.committed(), self.arrivals.count()));
                    if Instant::now() > deadline {
                        bail!("the shop did not close within {START:?} of its time");
                    }
                }
            }
        }
        step.done(format!("{} rows committed, {} arrived", books.committed(), self.arrivals.count()));
        Ok(books)
    }

    /// Waits until every committed row has arrived and says so, or nothing moves any more: the proof tells
    /// which.
    async fn wait_for_arrivals(&mut self, books: &Books, database: &Database) -> Result<()> {
        let mut step = Step::begin("Waiting for the rest");
        let committed = books.committed();
        let (mut seen, mut moved_at) = ((0, 0), Instant::now());
        loop {
            self.check()?;
            let now = (self.arrivals.count(), database.waiting().await?);
            if now.0 >= committed && now.1 == 0 {
                step.done("Everything has arrived, and every row says so");
                return Ok(());
            }
            step.at(format!("{} of {committed} arrived, {} rows still say INIT", now.0, now.1));
            if now != seen {
                (seen, moved_at) = (now, Instant::now());
            } else if moved_at.elapsed() > STANDSTILL {
                step.done(format!(
                    "Gave up: {} of {committed} arrived, {} rows still say INIT, and nothing moved for \
                     {STANDSTILL:?}",
                    now.0, now.1
                ));
                return Ok(());
            }
            tokio::time::sleep(TICK).await;
        }
    }
}
