//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Starts PostgreSQL, Kafka, a shop, a data platform and the relay. Ends with a proof that every committed outbox row
/// is COMPLETE at the position of its record, or FAILED with the reason.
#[derive(Clone, Debug, Parser)]
#[command(name = "script/demo")]
pub(crate) struct Args {
    /// How long the shop takes orders, in seconds
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,
    /// Orders per second; 0 is no limit
    #[arg(long, default_value_t = 200)]
    pub(crate) rate: u32,
    /// Leave everything running after the proof, until Ctrl-C, and print how to look around
    #[arg(long)]
    pub(crate) keep: bool,
    /// Do not start the relay: the proof must fail then
    #[arg(long)]
    pub(crate) without_relay: bool,
    /// The file for the relay's log
    #[arg(long, default_value = "target/demo")]
    pub(crate) directory: PathBuf,
    /// The relay's program; by default the one in the directory of this program
    #[arg(long)]
    pub(crate) postrider: Option<PathBuf>,
}
