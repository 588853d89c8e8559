use std::sync::Arc;

use bytes::Bytes;
use outbox::Lsn;

use crate::pgoutput::relation::Relation;
use crate::pgoutput::tuple::Tuple;

/// One message of pgoutput, protocol version 1 (PostgreSQL documentation, "Logical Replication Message
/// Formats").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A transaction begins. Transactions come whole and in commit order; rolled-back ones never come.
    Begin {
        /// Where the commit record begins; equals the commit's `commit_lsn`.
        final_lsn: Lsn,
        /// When it was committed, in microseconds since 2000-01-01 00:00 UTC.
        committed_at_us: i64,
        /// The transaction's id.
        xid: u32,
    },
    /// The transaction ends.
    Commit {
        /// Where the commit record begins.
        commit_lsn: Lsn,
        /// Where the commit record ends: the position to confirm once the transaction is dealt with.
        end_lsn: Lsn,
        /// When it was committed, in microseconds since 2000-01-01 00:00 UTC.
        committed_at_us: i64,
    },
    /// What the rows of a table look like from here on.
    Relation(Arc<Relation>),
    /// A row was inserted.
    Insert {
        /// The table, as it was described last before this row.
        relation: Arc<Relation>,
        /// The row, with as many values as the relation has columns.
        new: Tuple,
    },
    /// `pg_logical_emit_message` was called.
    Message {
        /// Whether it belongs to the transaction around it; otherwise it stands alone and comes at once,
        /// whatever becomes of the transaction that emitted it.
        transactional: bool,
        /// Where the message's record ends in the log.
        lsn: Lsn,
        /// Its prefix, UTF-8.
        prefix: Bytes,
        /// Its content, any bytes.
        content: Bytes,
    },
    /// A message that was checked and is of no use to an outbox.
    Other(OtherKind),
}

/// What was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherKind {
    /// The transaction was replicated from elsewhere.
    Origin,
    /// A user-defined type's name.
    Type,
    /// A row was updated.
    Update,
    /// A row was deleted.
    Delete,
    /// Tables were emptied.
    Truncate,
}
