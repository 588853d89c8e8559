//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// A real PostgreSQL, a real Kafka, a shop, a data platform, and the relay between them; ends with proof that
/// every committed outbox row is COMPLETE where its record is, or FAILED and why.
#[derive(Clone, Debug, Parser)]
#[command(name = "script/demo")]
pub(crate) struct Args {
    /// How long the shop sells, in seconds
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,
    /// Orders per second; 0 is as fast as it goes
    #[arg(long, default_value_t = 200)]
    pub(crate) rate: u32,
    /// Leave everything running after the proof, until Ctrl-C, and say how to look around
    #[arg(long)]
    pub(crate) keep: bool,
    /// Do not start the relay: the proof must fail then
    #[arg(long)]
    pub(crate) without_relay: bool,
    /// Where the log of the relay goes
    #[arg(long, default_value = "target/demo")]
    pub(crate) directory: PathBuf,
    /// The relay's program; by default the one beside this program
    #[arg(long)]
    pub(crate) postrider: Option<PathBuf>,
}
