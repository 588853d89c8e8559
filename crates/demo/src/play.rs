//! One run: the relay, the shop, the data platform, what is done to them, and what came of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use shop::{Day, Odds, Pace, Shop};
use tokio::sync::watch;
use uuid::Uuid;

use crate::args::Args;
use crate::arrivals::Arrivals;
use crate::broker::read_all;
use crate::database::{Database, States};
use crate::latency::Latency;
use crate::ledger::Books;
use crate::program::Program;
use crate::proof::{Evidence, Sequel, examine};
use crate::relay::Relay;
use crate::report::{Performance, Report};
use crate::servers::Servers;
use crate::steps::Step;

/// What may take this long takes it only where something is broken.
pub(crate) const START: Duration = Duration::from_secs(60);
/// How long nothing may move before what has not arrived counts as lost.
pub(crate) const STANDSTILL: Duration = Duration::from_secs(15);
pub(crate) const TICK: Duration = Duration::from_millis(100);
const TILLS: u16 = 8;
/// All the relay's topics begin so, those it should not have made included.
const TOPIC_PREFIX: &str = "outbox.";

/// Plays the run to its end and gathers the evidence.
///
/// # Errors
/// The run itself broke: a program ended by itself, a server did not answer in time. A proof that does not
/// hold is no error.
pub(crate) async fn play(args: &Args, servers: &Servers, program: &Program) -> Result<Report> {
    program.show_success(&["init"]).await?;
    let database = Database::connect(&servers.postgres_url()).await?;
    let mut run = Run {
        relay: None,
        arrivals: Arrivals::start(servers.kafka_brokers())?,
        shop: Shop { postgres: servers.postgres_url().parse()?, outbox: "public.outbox".to_owned() },
        brokers: servers.kafka_brokers().to_owned(),
        books: Arc::default(),
        database,
        sequels: HashMap::new(),
    };
    if !args.without_relay {
        run.relay = Some(start_relay(program, &run.database).await?);
    }
    run.join().await?;

    run.sell(args).await?;
    let is_settled = run.settle("Waiting for the rest").await?;
    let latency = Latency::of(&run.books.entries(), &run.arrivals.first())?;
    // A run that is stuck gets no better by it, and a record may only be deleted where all others are consumed.
    if is_settled && run.relay.is_some() {
        run.lose_a_record().await?;
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

/// What runs, and what is known of it.
pub(crate) struct Run {
    relay: Option<Relay>,
    pub(crate) arrivals: Arrivals,
    pub(crate) shop: Shop,
    pub(crate) brokers: String,
    pub(crate) books: Arc<Books>,
    pub(crate) database: Database,
    /// What was done to rows after they were published.
    pub(crate) sequels: HashMap<Uuid, Sequel>,
}

impl Run {
    pub(crate) fn check(&mut self) -> Result<()> {
        self.arrivals.check()?;
        self.check_relay()
    }

    /// While the data platform is away.
    pub(crate) fn check_relay(&mut self) -> Result<()> {
        self.relay.as_mut().map_or(Ok(()), Relay::check)
    }

    /// Waits until the data platform reads, so that the first latencies are the relay's.
    pub(crate) async fn join(&mut self) -> Result<()> {
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

    async fn sell(&mut self, args: &Args) -> Result<()> {
        let open_for = Duration::from_secs(args.seconds);
        let rate = Some(args.rate).filter(|&rate| rate > 0);
        let pace = Pace { rate, open_for: Some(open_for), orders: None };
        let odds = Odds { malformed_payments: 1, ..Odds::default() };
        let day = Day { pace, odds, tills: TILLS, seed: 1 };

        let mut step = Step::timed(format!("Selling for {} s", args.seconds), open_for);
        let (_open, closed) = watch::channel(false);
        let (shop, books) = (self.shop.clone(), Arc::clone(&self.books));
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
        let malformed = match books.malformed() {
            0 => String::new(),
            malformed => format!("; no record can be made of {malformed}"),
        };
        let (committed, arrived) = (books.committed(), self.arrivals.count());
        step.done(format!("{committed} rows committed, {arrived} arrived{malformed}"));
        Ok(())
    }

    /// Waits until every committed row has arrived and says so, or nothing moves any more: the proof tells
    /// which. Whether it came to that.
    pub(crate) async fn settle(&mut self, waiting: &str) -> Result<bool> {
        let mut step = Step::begin(waiting);
        let malformed = self.books.malformed();
        let due = self.books.committed() - malformed;
        let (mut seen, mut moved_at) = ((0, States::default()), Instant::now());
        loop {
            self.check()?;
            let now = (self.arrivals.count(), self.database.states().await?);
            let said = format!("{} of {due} arrived; the rows say: {}", now.0, now.1);
            if now.0 >= due && now.1.of("COMPLETE") >= due && now.1.of("FAILED") >= malformed {
                step.done(format!("All that can be sent has arrived; the rows say: {}", now.1));
                return Ok(true);
            }
            step.at(&said);
            if now != seen {
                (seen, moved_at) = (now, Instant::now());
            } else if moved_at.elapsed() > STANDSTILL {
                step.done(format!("Gave up: {said}; nothing moved for {STANDSTILL:?}"));
                return Ok(false);
            }
            tokio::time::sleep(TICK).await;
        }
    }
}
