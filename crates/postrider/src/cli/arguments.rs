//! The arguments of the command line.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::replay::ReplayArgs;
use crate::status::StatusArguments;
use crate::verify::VerifyArguments;

/// Streams a transactional outbox out of the PostgreSQL WAL into Kafka and writes each row's delivery back.
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
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Make what `run` needs in the database: table, publication, slot; what is there already is left alone
    Init {
        /// Print the SQL that would be run and touch nothing
        #[arg(long)]
        dry_run: bool,
        /// Make the table in monthly partitions, which retention drops whole
        #[arg(long)]
        partitioned: bool,
    },
    /// Run the relay until SIGTERM or SIGINT; either lets it finish what is in flight, a second one aborts
    Run,
    /// Show how everything stands: rows by state, slot, receipts, what is stuck, failed or held back, replays
    Status(StatusArguments),
    /// Prove delivery: compare every row that says PUBLISH or COMPLETE with the record at its topic, partition and
    /// offset; exit 1 where one is missing or another
    ///
    /// Proven is a row whose id is the record's header `id` and whose payload is the record's value, byte for byte. What
    /// the topic's retention deleted counts as expired, and is no failure. Rows are read in one snapshot: on a very
    /// large table, --from and --to keep it short.
    Verify(VerifyArguments),
    /// Send rows again: backfill, re-delivery, and the retry of rows that failed
    Replay(ReplayArgs),
}

impl Cli {
    /// The arguments of this process. What they get wrong ends it with exit code 2, and so do help and version with 0.
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
