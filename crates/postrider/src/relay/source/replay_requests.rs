//! Replay requests in the WAL: inserts into `postrider.replay`.

use outbox::Lsn;
use reconciler::ReplayNotice;
use tracing::warn;
use wal_reader::{Relation, Tuple};

const SCHEMA: &str = "postrider";
const TABLE: &str = "replay";

/// Recognises the requests of one slot. The relays of a database share the table.
pub(crate) struct ReplayRequests {
    slot: String,
}

/// The positions of the columns that are read. The rest of a request is read from the table when it is executed.
#[derive(Clone, Copy)]
pub(crate) struct RequestColumns {
    id: usize,
    slot: usize,
}

impl ReplayRequests {
    pub(crate) fn new(slot: String) -> Self {
        ReplayRequests { slot }
    }

    /// Whether a relation is the table of requests.
    pub(crate) fn is_table(relation: &Relation) -> bool {
        relation.namespace == SCHEMA && relation.name == TABLE
    }

    /// The columns of the table of requests. Without them, because a column list leaves them out or the table was
    /// altered, requests are only found at the start of a session.
    pub(crate) fn columns(relation: &Relation) -> Option<RequestColumns> {
        let columns = relation.column_index("id").zip(relation.column_index("slot"));
        if columns.is_none() {
            warn!(
                "the publication does not publish columns id and slot of {SCHEMA}.{TABLE}: replay requests wait for \
                 the next start of the relay; remove the column list of the publication"
            );
        }
        columns.map(|(id, slot)| RequestColumns { id, slot })
    }

    /// The request that a transaction inserted; `None` if it is for another slot.
    pub(crate) fn notice(
        &self,
        columns: RequestColumns,
        row: &Tuple,
        xid: u32,
        commit_lsn: Lsn,
    ) -> Option<ReplayNotice> {
        if row.text(columns.slot) != Some(self.slot.as_str()) {
            return None;
        }
        let id = row.uuid(columns.id);
        if id.is_none() {
            warn!("a row of {SCHEMA}.{TABLE} has an id that is not a uuid; ignored");
        }
        id.map(|id| ReplayNotice { id, xid, commit_lsn })
    }
}
