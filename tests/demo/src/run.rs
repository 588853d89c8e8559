//! The parts of a run, and what each of them is asked to do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use shop::{FaultRates, Pace, Shop, Workload};
use tokio::sync::watch;
use uuid::Uuid;

use crate::args::Args;
use crate::arrivals::Arrivals;
use crate::database::{Database, States};
use crate::ledger::Books;
use crate::program::{Program, tail};
use crate::proof::Sequel;
use crate::relay::Relay;
use crate::servers::Servers;
use crate::steps::Step;

/// What may take this long takes it only where something is broken.
pub(crate) const START: Duration = Duration::from_secs(60);
/// How long nothing may move before what has not arrived counts as lost.
pub(crate) const STANDSTILL: Duration = Duration::from_secs(15);
pub(crate) const TICK: Duration = Duration::from_millis(100);
const TILLS: u16 = 8;

/// Starts the relay and waits until it reads its slot.
pub(crate) async fn start_relay(program: &Program, database: &Database) -> Result<Relay> {
    let step = Step::begin("Starting the relay");
    let mut relay = program.run()?;
    let deadline = Instant::now() + START;
    while !database.slot_is_active().await? {
        relay.check()?;
        if Instant::now() > deadline {
            bail!("the relay did not open its slot within {START:?}{}", tail(&program.log));
        }
        tokio::time::sleep(TICK).await;
    }
    step.done(format!("`postrider run` reads the WAL; its log: {}", program.log.display()));
    Ok(relay)
}

/// What runs, and what is known of it.
pub(crate) struct Run {
    pub(crate) relay: Option<Relay>,
    pub(crate) arrivals: Arrivals,
    pub(crate) shop: Shop,
    pub(crate) brokers: String,
    pub(crate) books: Arc<Books>,
    pub(crate) database: Database,
    /// What was done to rows after they were published.
    pub(crate) sequels: HashMap<Uuid, Sequel>,
}

impl Run {
    /// Nothing runs yet but the servers.
    pub(crate) async fn prepare(servers: &Servers) -> Result<Run> {
        Ok(Run {
            relay: None,
            arrivals: Arrivals::new(servers.kafka_brokers()),
            shop: Shop { postgres: servers.postgres_url().parse()?, outbox: "public.outbox".to_owned() },
            brokers: servers.kafka_brokers().to_owned(),
            books: Arc::default(),
            database: Database::connect(&servers.postgres_url()).await?,
            sequels: HashMap::new(),
        })
    }

    pub(crate) fn check(&mut self) -> Result<()> {
        self.arrivals.check()?;
        self.relay.as_mut().map_or(Ok(()), Relay::check)
    }

    /// Starts the data platform and waits until it reads, so that the first latencies are the relay's.
    pub(crate) async fn join(&mut self) -> Result<()> {
        let step = Step::begin("Starting the data platform");
        self.arrivals.start()?;
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

    pub(crate) async fn sell(&mut self, args: &Args) -> Result<()> {
        let open_for = Duration::from_secs(args.seconds);
        let rate = Some(args.rate).filter(|&rate| rate > 0);
        let pace = Pace { rate, open_for: Some(open_for), orders: None };
        let rates = FaultRates { malformed_payments: 1, ..FaultRates::default() };
        let workload = Workload { pace, rates, workers: TILLS, seed: 1 };

        let mut step = Step::timed(format!("Selling for {} s", args.seconds), open_for);
        let (_open, closed) = watch::channel(false);
        let (shop, books) = (self.shop.clone(), Arc::clone(&self.books));
        let mut selling = std::pin::pin!(shop::sell(&shop, workload, books.clone(), closed));
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

    /// Waits until every committed row has arrived and its status is final, or nothing changes any more. Returns whether
    /// every row arrived.
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
