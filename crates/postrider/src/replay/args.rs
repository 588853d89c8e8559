//! The arguments of `replay`.

use std::time::UNIX_EPOCH;

use clap::error::ErrorKind;
use clap::{ArgAction, ArgMatches, Args, FromArgMatches};
use outbox::Status;
use outbox_store::Selection;
use uuid::Uuid;

use crate::time_argument;

/// The arguments of `postrider replay`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayArgs {
    pub(super) action: ReplayAction,
    /// Whether to wait for the end; `None`: on a terminal.
    pub(super) wait: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReplayAction {
    Replay { selection: Selection, rows_per_second: Option<u32> },
    DryRun { selection: Selection },
    Skip(Uuid),
    Cancel(Uuid),
}

const SELECTORS: [&str; 7] = ["id", "status", "from", "to", "aggregate_type", "aggregate_id", "all"];

#[derive(Debug, Args)]
#[command(
    after_help = "Rows in any state are selected unless --status names some: a FAILED row is retried, a PUBLISH or \
                  COMPLETE row is sent once more and keeps its state, an INIT row is sent if the WAL does not bring it \
                  any more. Rows are sent in the order of created_at. A row that is held behind a failed row of its key \
                  is passed over; it follows when that one is replayed or skipped.\n\n\
                  Records sent again carry the header postrider-replay with the id of the request.\n\n\
                  The relay executes a request or, if none is running, this command does. The next relay, or the same \
                  command run again, resumes a request that was interrupted."
)]
struct Flags {
    /// Rows with these ids, separated by commas; may be repeated
    #[arg(long, value_name = "ID", value_delimiter = ',', action = ArgAction::Append, value_parser = parse_id)]
    id: Vec<Uuid>,
    /// Rows in these states [default: any]
    #[arg(long, value_name = "STATUS", value_delimiter = ',', action = ArgAction::Append, value_parser = parse_status)]
    status: Vec<Status>,
    /// Rows created at this time or later, like 2026-11-24T09:30:00+01:00 or 2026-11-24 (without an offset it is UTC), or 7d ago
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    from: Option<i64>,
    /// Rows created before this time [default: now, unless --id is given]
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    to: Option<i64>,
    /// Rows with this aggregate_type
    #[arg(long, value_name = "TYPE")]
    aggregate_type: Option<String>,
    /// Rows with this aggregate_id
    #[arg(long, value_name = "KEY")]
    aggregate_id: Option<String>,
    /// Every row
    #[arg(long, conflicts_with_all = ["id", "status", "from", "to", "aggregate_type", "aggregate_id"])]
    all: bool,
    /// At most this many rows, the oldest first
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
    limit: Option<u64>,
    /// At most this many rows per second [default: unlimited]
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    rate: Option<u32>,
    /// Show how many rows would be sent, and send nothing
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Wait for the end and show the progress [default: on a terminal; without a relay, always]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    wait: Option<bool>,
    /// Release the rows that are held behind this failed row, without sending it
    #[arg(long, value_name = "ID", value_parser = parse_id, conflicts_with_all = SELECTORS, conflicts_with_all = ["limit", "rate", "dry_run", "cancel"])]
    skip: Option<Uuid>,
    /// Cancel the replay with this id
    #[arg(long, value_name = "REPLAY", value_parser = parse_id, conflicts_with_all = SELECTORS, conflicts_with_all = ["limit", "rate", "dry_run", "wait"])]
    cancel: Option<Uuid>,
}

impl Flags {
    fn parse(self) -> Result<ReplayArgs, clap::Error> {
        let wait = self.wait;
        let action = match (self.skip, self.cancel) {
            (Some(row), _) => ReplayAction::Skip(row),
            (None, Some(request)) => ReplayAction::Cancel(request),
            (None, None) => self.selected()?,
        };
        Ok(ReplayArgs { action, wait })
    }

    fn selected(self) -> Result<ReplayAction, clap::Error> {
        let Flags {
            all,
            limit,
            rate,
            dry_run,
            from,
            to,
            aggregate_type,
            aggregate_id,
            mut id,
            mut status,
            ..
        } = self;
        let nothing = id.is_empty()
            && status.is_empty()
            && [from, to].iter().all(Option::is_none)
            && [&aggregate_type, &aggregate_id].iter().all(|text| text.is_none());
        if nothing && !all {
            return Err(usage(
                ErrorKind::MissingRequiredArgument,
                "no row is selected: give --id, --status, --from, --to, --aggregate-type or --aggregate-id; for every \
                 row, give --all",
            ));
        }
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            return Err(usage(
                ErrorKind::ValueValidation,
                "--from is not before --to; --from is inclusive and --to is exclusive",
            ));
        }
        id.sort();
        id.dedup();
        status.sort_by_key(|status| status.as_str());
        status.dedup();
        let selection = Selection {
            ids: id,
            statuses: status,
            from_us: from,
            to_us: to,
            aggregate_type,
            aggregate_id,
            rows_max: limit,
        };
        Ok(match dry_run {
            true => ReplayAction::DryRun { selection },
            false => ReplayAction::Replay { selection, rows_per_second: rate },
        })
    }
}

fn usage(kind: ErrorKind, message: &str) -> clap::Error {
    clap::Error::raw(kind, format!("{message}\n\nFor more information, try 'postrider replay --help'.\n"))
}

/// In microseconds since 1970-01-01 UTC.
fn parse_time(text: &str) -> Result<i64, String> {
    let at = time_argument::parse(text)?;
    let us = match at.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()),
        Err(before) => i64::try_from(before.duration().as_micros()).map(|us| -us),
    };
    // Years with four digits.
    const YEARS_1_TO_9999_US: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;
    us.ok().filter(|us| YEARS_1_TO_9999_US.contains(us)).ok_or_else(|| "the time is out of range".to_owned())
}

fn parse_id(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| format!("expected a UUID like {}", Uuid::nil()))
}

fn parse_status(text: &str) -> Result<Status, String> {
    text.to_ascii_uppercase().parse().map_err(|error: outbox::ParseStatusError| error.to_string())
}

impl FromArgMatches for ReplayArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Flags::from_arg_matches(matches)?.parse()
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for ReplayArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        Flags::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Flags::augment_args_for_update(command)
    }
}
