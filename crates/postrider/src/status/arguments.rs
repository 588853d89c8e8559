//! The arguments of `postrider status`.

use clap::Args;

/// The arguments of `status`.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusArguments {
    /// One JSON object; an unavailable section is null, with the reason under `unavailable`
    ///
    /// {n}rows: by state (INIT, PUBLISH, COMPLETE, FAILED, other) count, oldest_seconds
    /// {n}slot: name, exists, active, wal_status, retained_bytes, confirmed_lsn, lag_bytes
    /// {n}receipts: per group: group, own, records (behind), worst (topic, partition, records)
    /// {n}stuck: INIT and PUBLISH with count, oldest_seconds, after_seconds; for INIT also how many are held
    /// {n}failed: count, newest (id, last_error)
    /// {n}held: keys, waiting, longest (topic, key, head, waiting, held_seconds)
    /// {n}replays: id, kind, state, requested_at, requested_by, rows_total, rows_sent, rows_failed, rows_passed,
    /// last_error
    #[arg(long, verbatim_doc_comment)]
    pub json: bool,
}
