//! The arguments of `postrider verify`.

use std::time::SystemTime;

use clap::Args;

use crate::time_argument;

/// The arguments of `verify`.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyArguments {
    /// Only rows created at that time or later; a time, or how long ago: 2026-01-31T12:00:00Z, 7d
    #[arg(long, value_name = "TIME", value_parser = time_argument::parse)]
    pub from: Option<SystemTime>,
    /// Only rows created before that time
    #[arg(long, value_name = "TIME", value_parser = time_argument::parse)]
    pub to: Option<SystemTime>,
    /// Only so many of these rows, picked at random
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
    pub sample: Option<u64>,
    /// One JSON object: table, from, to, sample, rows, proven, missing, mismatched, expired, findings (each with id,
    /// status, verdict, topic, partition, offset, found), findings_left_out, seconds
    #[arg(long)]
    pub json: bool,
}

impl VerifyArguments {
    /// Checks combinations of arguments.
    pub(crate) fn check(&self) -> Result<(), String> {
        time_argument::check_range(self.from, self.to)
    }
}
