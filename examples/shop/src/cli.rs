//! The command line: `schema`, `sell`, `consume`.

use std::fs::File;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use serde::Deserialize;
use shop::{
    CountingLedger, FaultRates, Pace, ReceivedRecord, RecordHandler, SequenceStep, SequenceTracker, Shop,
    Subscription, Workload, consume, create_tables, outbox_exists, sell,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_postgres::{Config, NoTls};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// How often a long-running command logs its counts.
const REPORT: Duration = Duration::from_secs(10);

/// An order service with payments that writes an outbox, and a data platform that consumes it.
#[derive(Parser)]
#[command(name = "shop", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create the tables orders and payments, and report whether the outbox table exists
    Schema(Database),
    /// Take orders and payments: each is one transaction with its outbox row
    Sell(Sell),
    /// Consume the events as the data platform: count them, report keys whose sequence goes backwards
    Consume(Consume),
}

#[derive(Args)]
struct Database {
    /// URL of the database, such as postgres://shop@localhost/shop
    #[arg(long, env = "SHOP_POSTGRES_URL", hide_env_values = true)]
    postgres_url: String,
    /// The outbox table, as an SQL name
    #[arg(long, env = "SHOP_OUTBOX_TABLE", default_value = "public.outbox")]
    outbox_table: String,
}

#[derive(Args)]
struct Sell {
    #[command(flatten)]
    database: Database,
    /// Orders per second; 0 means unlimited
    #[arg(long, env = "SHOP_RATE", default_value_t = 20)]
    rate: u32,
    /// Stop after this many seconds; without --seconds and --orders the shop runs until SIGTERM
    #[arg(long)]
    seconds: Option<u64>,
    /// Stop after this many orders
    #[arg(long)]
    orders: Option<u64>,
    /// Parallel workers, each with its own connection
    #[arg(long, env = "SHOP_CONCURRENCY", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Transactions that roll back after inserting their outbox row, in percent
    #[arg(long, env = "SHOP_ROLLBACK_PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u8).range(..=100))]
    rollback_percent: u8,
    /// Orders that roll back to a savepoint set before an outbox row and then commit, in percent
    #[arg(long, env = "SHOP_SAVEPOINT_PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u8).range(..=100))]
    savepoint_percent: u8,
    /// How many of the first payments insert an outbox row that cannot be published
    #[arg(long, env = "SHOP_MALFORMED_PAYMENTS", default_value_t = 0)]
    malformed_payments: u16,
    /// Seed of the orders' content; the same seed gives the same orders with other ids
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write every outbox row, committed or rolled back, to this file as one JSON line
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
}

#[derive(Args)]
struct Consume {
    /// The brokers, comma-separated
    #[arg(long, env = "SHOP_KAFKA_BROKERS")]
    kafka_brokers: String,
    /// The consumer group
    #[arg(long, env = "SHOP_GROUP", default_value = "data-platform")]
    group: String,
    /// Start at the beginning of the topics where the group has no committed offsets
    #[arg(long, env = "SHOP_FROM_BEGINNING")]
    from_beginning: bool,
}

/// Parses the arguments and runs the command to its end.
pub(crate) fn run() -> Result<()> {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        match cli.command {
            Command::Schema(database) => schema(database).await,
            Command::Sell(arguments) => run_sell(arguments).await,
            Command::Consume(arguments) => run_consume(arguments).await,
        }
    })
}

impl Database {
    fn shop(self) -> Result<Shop> {
        let postgres: Config = self.postgres_url.parse().context("SHOP_POSTGRES_URL")?;
        Ok(Shop { postgres, outbox: self.outbox_table })
    }
}

async fn schema(database: Database) -> Result<()> {
    let shop = database.shop()?;
    let (client, connection) = shop.postgres.connect(NoTls).await.context("connecting to PostgreSQL")?;
    // The error of a broken connection is returned by the pending query.
    tokio::spawn(async move { connection.await.ok() });
    create_tables(&client).await?;
    println!("tables orders and payments exist");
    if outbox_exists(&client, &shop.outbox).await? {
        println!("outbox table {} exists", shop.outbox);
    } else {
        println!("{}", shop::Error::NoOutbox { table: shop.outbox });
    }
    Ok(())
}

async fn run_sell(arguments: Sell) -> Result<()> {
    let ledger = match &arguments.ledger {
        None => CountingLedger::default(),
        Some(path) => {
            CountingLedger::with_file(File::create(path).with_context(|| path.display().to_string())?)
        }
    };
    let ledger = Arc::new(ledger);
    let workload = Workload {
        pace: Pace {
            rate: Some(arguments.rate).filter(|&rate| rate > 0),
            open_for: arguments.seconds.map(Duration::from_secs),
            orders: arguments.orders,
        },
        rates: FaultRates {
            rollback_percent: arguments.rollback_percent,
            savepoint_percent: arguments.savepoint_percent,
            malformed_payments: arguments.malformed_payments,
            ..FaultRates::default()
        },
        workers: arguments.concurrency,
        seed: arguments.seed,
    };
    let shop = arguments.database.shop()?;
    let (stop, stopped) = watch::channel(false);
    let mut signal = std::pin::pin!(stop_signal()?);
    let mut is_stopping = false;
    let mut selling = std::pin::pin!(sell(&shop, workload, ledger.clone(), stopped));
    let mut reports = tokio::time::interval_at(tokio::time::Instant::now() + REPORT, REPORT);
    let sold = loop {
        tokio::select! {
            sold = &mut selling => break sold,
            () = &mut signal, if !is_stopping => {
                is_stopping = true;
                stop.send_replace(true);
            }
            _ = reports.tick() => {
                let counts = ledger.counts();
                info!(committed = counts.committed, rolled_back = counts.rolled_back, "outbox rows");
            }
        }
    };
    let counts = ledger.counts();
    println!(
        "outbox rows: {} committed, {} rolled back, {} in doubt",
        counts.committed, counts.rolled_back, counts.in_doubt
    );
    ledger.finish().context("writing the ledger")?;
    Ok(sold?)
}

async fn run_consume(arguments: Consume) -> Result<()> {
    let subscription = Subscription {
        brokers: arguments.kafka_brokers,
        group: arguments.group,
        from_beginning: arguments.from_beginning,
    };
    let signal = stop_signal()?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let mut consuming = tokio::task::spawn_blocking(move || {
        let mut counts = Counts::default();
        let ended = consume(&subscription, &stopped, &mut counts);
        (counts, ended)
    });
    let (counts, ended) = tokio::select! {
        done = &mut consuming => done?,
        () = signal => {
            stop.store(true, Ordering::Relaxed);
            consuming.await?
        }
    };
    println!(
        "records: {} orders, {} payments, {} repeated, {} backwards, {} unreadable",
        counts.orders, counts.payments, counts.repeated, counts.backwards, counts.unreadable
    );
    Ok(ended?)
}

/// Resolves at the first SIGTERM or SIGINT.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Counts of the consumed records.
struct Counts {
    orders: u64,
    payments: u64,
    repeated: u64,
    backwards: u64,
    unreadable: u64,
    sequences: SequenceTracker,
    reported_at: std::time::Instant,
}

impl Default for Counts {
    fn default() -> Self {
        Counts {
            orders: 0,
            payments: 0,
            repeated: 0,
            backwards: 0,
            unreadable: 0,
            sequences: SequenceTracker::new(100_000),
            reported_at: std::time::Instant::now(),
        }
    }
}

#[derive(Deserialize)]
struct SequencedPayload {
    sequence: u64,
}

impl RecordHandler for Counts {
    fn assigned(&mut self, partitions: usize) {
        info!(partitions, "partitions assigned");
    }

    fn received(&mut self, record: &ReceivedRecord<'_>) {
        match record.topic() {
            "outbox.event.order" => self.orders += 1,
            _ => self.payments += 1,
        }
        let payload =
            record.payload().and_then(|bytes| serde_json::from_slice::<SequencedPayload>(bytes).ok());
        let position = format!("{}-{}@{}", record.topic(), record.partition(), record.offset());
        match (record.key(), payload) {
            (Some(key), Some(SequencedPayload { sequence })) => {
                // Order holds per key and topic.
                match self.sequences.observe(&format!("{} {key}", record.topic()), sequence) {
                    SequenceStep::Forward => {}
                    SequenceStep::Repeated => self.repeated += 1,
                    SequenceStep::Backward { last } => {
                        self.backwards += 1;
                        warn!(position, key, sequence, last, "sequence of the key goes backwards");
                    }
                }
            }
            _ => {
                self.unreadable += 1;
                warn!(position, "record has no readable key and sequence");
            }
        }
        if record.at - self.reported_at >= REPORT {
            self.reported_at = record.at;
            info!(orders = self.orders, payments = self.payments, backwards = self.backwards, "records");
        }
    }
}
