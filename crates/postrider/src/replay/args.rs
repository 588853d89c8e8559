//! The command's flags, and what they mean together.

use std::time::UNIX_EPOCH;

use clap::error::ErrorKind;
use clap::{ArgAction, ArgMatches, Args, FromArgMatches};
use outbox::Status;
use outbox_store::Selection;
use uuid::Uuid;

use crate::time_argument;

/// What `replay` is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayArgs {
    pub(super) asked: Asked,
    pub(super) wait: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Replay { selection: Selection, rows_per_second: Option<u32> },
    DryRun { selection: Selection },
    Skip(Uuid),
    Cancel(Uuid),
}

const SELECTORS: [&str; 7] = ["id", "status", "from", "to", "aggregate_type", "aggregate_id", "all"];

#[derive(Debug, Args)]
#[command(
    after_help = "Rows in any state are selected unless --status names some: a FAILED row is retried, a PUBLISH or \
                  COMPLETE row is sent once more and keeps its state, an INIT row is sent if the log does not bring it \
                  any more. Rows are sent in the order of created_at. A row that waits in line behind a failed row of \
                  its key is passed over; it follows when that one is replayed or skipped.\n\n\
                  Records sent again carry the header postrider-replay with the request's id.\n\n\
                  A request is carried out by the relay, or, where none is running, by this command. One that was \
                  interrupted goes on where it was, by the next relay or by the same command given again."
)]
struct Flags {
    /// Rows with these ids; several after commas, or the flag several times
    #[arg(long, value_name = "ID", value_delimiter = ',', action = ArgAction::Append, value_parser = parse_id)]
    id: Vec<Uuid>,
    /// Rows in these states [default: any]
    #[arg(long, value_name = "STATUS", value_delimiter = ',', action = ArgAction::Append, value_parser = parse_status)]
    status: Vec<Status>,
    /// Rows made at this time or later, like 2026-11-24T09:30:00+01:00 or 2026-11-24 (without an offset it is UTC), or 7d ago
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    from: Option<i64>,
    /// Rows made before this time [default: now, unless rows are named with --id]
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    to: Option<i64>,
    /// Rows of this kind of business object
    #[arg(long, value_name = "TYPE")]
    aggregate_type: Option<String>,
    /// Rows of the business object with this key
    #[arg(long, value_name = "KEY")]
    aggregate_id: Option<String>,
    /// Every row
    #[arg(long, conflicts_with_all = ["id", "status", "from", "to", "aggregate_type", "aggregate_id"])]
    all: bool,
    /// At most so many rows, the oldest first
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
    limit: Option<u64>,
    /// At most so many rows a second [default: as fast as it goes]
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    rate: Option<u32>,
    /// Tell what would be sent, and send nothing
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Wait until it is done, and show how far it has come [default: on a terminal; without a relay, always]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    wait: Option<bool>,
    /// Let the rows that wait in line behind this failed row go on without it
    #[arg(long, value_name = "ID", value_parser = parse_id, conflicts_with_all = SELECTORS, conflicts_with_all = ["limit", "rate", "dry_run", "cancel"])]
    skip: Option<Uuid>,
    /// Call off the replay with this id
    #[arg(long, value_name = "REPLAY", value_parser = parse_id, conflicts_with_all = SELECTORS, conflicts_with_all = ["limit", "rate", "dry_run", "wait"])]
    cancel: Option<Uuid>,
}

impl Flags {
    fn understood(self) -> Result<ReplayArgs, clap::Error> {
        let wait = self.wait;
        let asked = match (self.skip, self.cancel) {
            (Some(row), _) => Asked::Skip(row),
            (None, Some(request)) => Asked::Cancel(request),
            (None, None) => self.selected()?,
        };
        Ok(ReplayArgs { asked, wait })
    }

    fn selected(self) -> Result<Asked, clap::Error> {
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
            true => Asked::DryRun { selection },
            false => Asked::Replay { selection, rows_per_second: rate },
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
    // What PostgreSQL and people both can write.
    const YEARS_1_TO_9999_US: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;
    us.ok()
        .filter(|us| YEARS_1_TO_9999_US.contains(us))
        .ok_or_else(|| "such a time is out of range".to_owned())
}

fn parse_id(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| format!("it takes a UUID like {}", Uuid::nil()))
}

fn parse_status(text: &str) -> Result<Status, String> {
    text.to_ascii_uppercase().parse().map_err(|error: outbox::ParseStatusError| error.to_string())
}

impl FromArgMatches for ReplayArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Flags::from_arg_matches(matches)?.understood()
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
