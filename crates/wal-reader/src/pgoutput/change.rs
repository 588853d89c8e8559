use std::sync::Arc;

use outbox::Lsn;

use crate::pgoutput::relation::Relation;
use crate::pgoutput::tuple::Tuple;

/// One message of pgoutput, protocol version 1 (PostgreSQL documentation, "Logical Replication Message
/// Formats").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A transaction begins. Transactions arrive complete and in commit order, without rolled-back ones.
    Begin {
        /// LSN of the commit record, equal to `commit_lsn` of the Commit.
        final_lsn: Lsn,
        /// Commit time in microseconds since 2000-01-01 00:00 UTC.
        committed_at_us: i64,
        /// The transaction ID.
        xid: u32,
    },
    /// The transaction is committed.
    Commit {
        /// LSN of the commit record.
        commit_lsn: Lsn,
        /// End of the commit record: the position to confirm once the transaction is processed.
        end_lsn: Lsn,
        /// Commit time in microseconds since 2000-01-01 00:00 UTC.
        committed_at_us: i64,
    },
    /// The description of a table, valid for the rows that follow.
    Relation(Arc<Relation>),
    /// A row was inserted.
    Insert {
        /// The latest description of the table before this row.
        relation: Arc<Relation>,
        /// The row: one value per column of the relation.
        new: Tuple,
    },
    /// A message that was validated and is not relevant to an outbox.
    Other(OtherKind),
}

/// The kind of an ignored message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherKind {
    /// The replication origin of the transaction.
    Origin,
    /// The name of a user-defined type.
    Type,
    /// A row was updated.
    Update,
    /// A row was deleted.
    Delete,
    /// Tables were truncated.
    Truncate,
}
