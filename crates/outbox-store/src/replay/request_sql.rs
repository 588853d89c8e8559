//! SQL shared by the statements about replay requests.

use crate::connection::error::StoreError;

/// The channel on which changes of a request are notified, with its id as the payload.
pub(super) const REPLAY_CHANNEL: &str = "postrider_replay";

/// The remedy where the role of a `postrider replay` command lacks a privilege.
pub(super) const COMMAND_PRIVILEGES: &str = "grant the role USAGE on schema postrider and SELECT, INSERT and UPDATE on \
                                             postrider.replay, or run the command as a role that has them";

/// The remedy where the role of the relay lacks a privilege.
pub(super) const RELAY_PRIVILEGES: &str =
    "grant the relay's role USAGE on schema postrider and SELECT and UPDATE on postrider.replay";

/// Adds the remedy to `insufficient_privilege` errors.
pub(super) fn with_remedy(
    doing: &str,
    remedy: &'static str,
) -> impl FnOnce(tokio_postgres::Error) -> StoreError {
    move |error| {
        let error = StoreError::postgres(doing)(error);
        if error.code() == Some("42501") { error.with_remedy(remedy) } else { error }
    }
}

/// A `timestamptz` from microseconds; the ends of `i64` are -infinity and infinity.
pub(super) fn timestamp(us: &str) -> String {
    format!(
        "case {us} when {} then 'infinity'::timestamptz when '{}'::int8 then '-infinity'::timestamptz
         else timestamptz 'epoch' + {us} * interval '1 microsecond' end",
        i64::MAX,
        i64::MIN
    )
}

/// `bigint` has no larger counts.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
