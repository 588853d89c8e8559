//! The arguments of the command line.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::replay::ReplayArgs;
use crate::status::StatusArguments;
use crate::verify::VerifyArguments;

/// Streams a transactional outbox from the PostgreSQL WAL to Kafka and records each row's delivery on the row.
#[derive(Debug, Parser)]
#[command(
    name = "postrider",
    version,
    after_help = "Every key of the configuration is also an environment variable, which wins: [postgres] url is \
                  POSTRIDER_POSTGRES_URL.\n\nExit codes: 0 fine, 1 failed, 2 usage, 64 bad configuration."
)]
pub struct Cli {
    /// The configuration file [default: $POSTRIDER_CONFIG, else postrider.toml if there is one]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Create what `run` needs in the database: table, publication, slot; existing objects are kept
    Init {
        /// Print the SQL and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Create the table in monthly partitions, which retention drops whole
        #[arg(long)]
        partitioned: bool,
    },
    /// Run the relay until SIGTERM or SIGINT, which drain what is in flight; a second signal aborts
    Run,
    /// Show rows by state, the slot, consumer lag, stuck, failed and held rows, and replays
    Status(StatusArguments),
    /// Prove delivery: compare every PUBLISH and COMPLETE row with the record at its topic, partition and offset; exit 1 if
    /// a record is missing or differs
    ///
    /// A row is proven if its id is the record's `id` header and its payload is the record's value, byte for byte. A record
    /// that the topic's retention deleted counts as expired, which is no failure. Rows are read in one snapshot: on a very
    /// large table, limit it with --from and --to.
    Verify(VerifyArguments),
    /// Publish rows again: backfill, re-delivery, and retry of FAILED rows
    Replay(ReplayArgs),
}

impl Cli {
    /// The arguments of this process. A usage error exits with code 2, help and version with 0.
    pub fn parse_checked() -> Cli {
        let cli = Cli::parse();
        let checked = match &cli.command {
            Command::Verify(arguments) => arguments.check(),
            Command::Init { .. } | Command::Run | Command::Status(_) | Command::Replay(_) => Ok(()),
        };
        if let Err(reason) = checked {
            Cli::command().error(ErrorKind::ValueValidation, reason).exit();
        }
        cli
    }
}
