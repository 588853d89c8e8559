//! What a partition has at an offset.

use std::panic::{AssertUnwindSafe, catch_unwind};

use outbox::RecordAtOffset;
use rdkafka::message::{Headers as _, Message};

use crate::record::record_id::RecordId;

/// What a partition has at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetContent<'a> {
    /// A record.
    Record {
        /// Which row's record it is; never [`RecordAtOffset::Absent`].
        of: RecordAtOffset,
        /// The first header `id`.
        id: Option<&'a [u8]>,
        /// The value; `None` for a tombstone.
        payload: Option<&'a [u8]>,
    },
    /// No record within the log: compaction removed it, or it is the end of a transaction.
    NoRecord,
    /// The log starts later: retention deleted the record.
    BeforeStart {
        /// The log start offset.
        start: i64,
    },
    /// The log ends before the offset.
    BeyondEnd {
        /// The log end offset.
        end: i64,
    },
    /// The topic has no such partition.
    NoPartition,
    /// There is no such topic.
    NoTopic,
}

impl<'a> OffsetContent<'a> {
    pub(crate) fn of(message: &'a impl Message) -> OffsetContent<'a> {
        let of =
            RecordId::of(message).map_or(RecordAtOffset::Foreign, |record| RecordAtOffset::Row(record.id));
        OffsetContent::Record { of, id: id_header(message), payload: message.payload() }
    }

    /// Which row's record is at the offset.
    pub fn record(&self) -> RecordAtOffset {
        match self {
            OffsetContent::Record { of, .. } => *of,
            OffsetContent::NoRecord
            | OffsetContent::BeforeStart { .. }
            | OffsetContent::BeyondEnd { .. }
            | OffsetContent::NoPartition
            | OffsetContent::NoTopic => RecordAtOffset::Absent,
        }
    }
}

fn id_header(message: &impl Message) -> Option<&[u8]> {
    let headers = message.headers()?;
    let find = || headers.iter().find(|header| header.key == "id")?.value;
    // rdkafka panics at a header name that is not UTF-8. Any producer can write one; the record is not Postrider's.
    catch_unwind(AssertUnwindSafe(find)).ok().flatten()
}
