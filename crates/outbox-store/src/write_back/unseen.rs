//! Which transactions a statement does not see yet.
//!
//! The WAL delivers a commit before other transactions see it; with synchronous replication that lasts until a standby
//! has answered. An UPDATE does not find the rows of such a transaction, so the statements report it and the rows are
//! written again.

/// SQL: the array of those xids of `parameter` that are not visible in the statement's own snapshot.
///
/// pgoutput names transactions by 32 bits; the epoch is that of the xid nearest to the snapshot's xmax.
pub(crate) fn unseen_xids_sql(parameter: &str) -> String {
    format!(
        "array(
        select x.xid
        from unnest({parameter}) as x (xid),
            (select s, pg_snapshot_xmax(s)::text::int8 from pg_current_snapshot() as s) as now (snapshot, next),
            lateral (
                select now.next - 2147483648
                    + (x.xid - (now.next & 4294967295) + 2147483648 + 4294967296) % 4294967296
            ) as whole (xid)
        where whole.xid > 2 and not pg_visible_in_snapshot(whole.xid::text::xid8, now.snapshot)
    )"
    )
}

/// The parameter of [`unseen_xids_sql`].
pub(crate) fn to_parameter(xids: &[u32]) -> Vec<i64> {
    xids.iter().copied().map(i64::from).collect()
}

/// The value of [`unseen_xids_sql`].
pub(crate) fn from_answer(xids: Vec<i64>) -> Vec<u32> {
    xids.into_iter().filter_map(|xid| xid.try_into().ok()).collect()
}
