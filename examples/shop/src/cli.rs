//! What the commands do.

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

/// How often a long-running command says where it is.
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
    /// Create the tables orders and payments, and say whether the outbox table is there
    Schema(Database),
    /// Serve customers: every order and every payment is a transaction with its outbox row
    Sell(Sell),
    /// Be the data platform: consume the events, count them, notice a key that goes backwards
    Consume(Consume),
}

#[derive(Args)]
struct Database {
    /// The database, such as postgres://shop@localhost/shop
    #[arg(long, env = "SHOP_POSTGRES_URL", hide_env_values = true)]
    postgres_url: String,
    /// The outbox table, a name as SQL writes it
    #[arg(long, env = "SHOP_OUTBOX_TABLE", default_value = "public.outbox")]
    outbox_table: String,
}

#[derive(Args)]
struct Sell {
    #[command(flatten)]
    database: Database,
    /// Orders per second; 0 is as fast as it goes
    #[arg(long, env = "SHOP_RATE", default_value_t = 20)]
    rate: u32,
    /// Close after this many seconds; without --seconds and --orders the shop stays open
    #[arg(long)]
    seconds: Option<u64>,
    /// Close after this many orders
    #[arg(long)]
    orders: Option<u64>,
    /// Tills that serve at once, each with a connection of its own
    #[arg(long, env = "SHOP_CONCURRENCY", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Transactions that roll back after they have counts their outbox row, in percent
    #[arg(long, env = "SHOP_ROLLBACK_PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u8).range(..=100))]
    rollback_percent: u8,
    /// Orders that roll back a savepoint with an outbox row behind it and then commit, in percent
    #[arg(long, env = "SHOP_SAVEPOINT_PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u8).range(..=100))]
    savepoint_percent: u8,
    /// Payments that write an outbox row no record can be made of: the first so many
    #[arg(long, env = "SHOP_MALFORMED_PAYMENTS", default_value_t = 0)]
    malformed_payments: u16,
    /// Decides what the orders hold; the same seed gives the same orders under other ids
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write down every outbox row, committed or rolled back, one JSON line each
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
    /// A group without committed offsets begins at the topics' beginning instead of their end
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
            Command::Sell(arguments) => keep_selling(arguments).await,
            Command::Consume(arguments) => keep_consuming(arguments).await,
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
    // A broken connection shows in the query that waits on it.
    tokio::spawn(async move { connection.await.ok() });
    create_tables(&client).await?;
    println!("the tables orders and payments are there");
    if outbox_exists(&client, &shop.outbox).await? {
        println!("the outbox table {} is there", shop.outbox);
    } else {
        println!("{}", shop::Error::NoOutbox { table: shop.outbox });
    }
    Ok(())
}

async fn keep_selling(arguments: Sell) -> Result<()> {
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
    let mut asked = std::pin::pin!(asked_to_stop()?);
    let mut is_asked = false;
    let mut selling = std::pin::pin!(sell(&shop, workload, ledger.clone(), stopped));
    let mut reports = tokio::time::interval_at(tokio::time::Instant::now() + REPORT, REPORT);
    let sold = loop {
        tokio::select! {
            sold = &mut selling => break sold,
            () = &mut asked, if !is_asked => {
                is_asked = true;
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

async fn keep_consuming(arguments: Consume) -> Result<()> {
    let subscription = Subscription {
        brokers: arguments.kafka_brokers,
        group: arguments.group,
        from_beginning: arguments.from_beginning,
    };
    let asked = asked_to_stop()?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let mut consuming = tokio::task::spawn_blocking(move || {
        let mut counts = Counts::default();
        let ended = consume(&subscription, &stopped, &mut counts);
        (counts, ended)
    });
    let (counts, ended) = tokio::select! {
        done = &mut consuming => done?,
        () = asked => {
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
fn asked_to_stop() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// What the data platform noticed.
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
        info!(partitions, "reading");
    }

    fn received(&mut self, record: &ReceivedRecord<'_>) {
        match record.topic() {
            "outbox.event.order" => self.orders += 1,
            _ => self.payments += 1,
        }
        let payload =
            record.payload().and_then(|bytes| serde_json::from_slice::<SequencedPayload>(bytes).ok());
        let place = format!("{}-{}@{}", record.topic(), record.partition(), record.offset());
        match (record.key(), payload) {
            (Some(key), Some(SequencedPayload { sequence })) => {
                // The order of a key holds within a topic, so each topic has its own sequence of the key.
                match self.sequences.observe(&format!("{} {key}", record.topic()), sequence) {
                    SequenceStep::Forward => {}
                    SequenceStep::Repeated => self.repeated += 1,
                    SequenceStep::Backward { last } => {
                        self.backwards += 1;
                        warn!(place, key, sequence, last, "the key's sequence goes backwards");
                    }
                }
            }
            _ => {
                self.unreadable += 1;
                warn!(place, "a record without a readable key and sequence");
            }
        }
        if record.at - self.reported_at >= REPORT {
            self.reported_at = record.at;
            info!(orders = self.orders, payments = self.payments, backwards = self.backwards, "records");
        }
    }
}
