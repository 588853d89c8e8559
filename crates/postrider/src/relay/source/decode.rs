//! Decodes the stream into outbox events and replay requests.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use outbox::{Columns, Event, Lsn, TableName};
use outbox_store::Names;
use reconciler::ReplayNotice;
use tracing::{info, warn};
use wal_reader::{Change, Decoder, Relation, RowLayout, Tuple};

use crate::relay::source::replay_requests::{ReplayRequests, RequestColumns};

/// Decodes the stream of one connection.
pub(crate) struct OutboxDecoder {
    table: OutboxTable,
    replays: ReplayRequests,
    decoder: Decoder,
    relations: HashMap<u32, KnownRelation>,
    /// The open transaction, and the position of its commit record.
    xid: u32,
    final_lsn: Lsn,
}

/// The table whose rows are events.
struct OutboxTable {
    name: TableName,
    columns: Columns,
    /// Identifies the table under another name.
    oid: Option<u32>,
}

/// A relation as it was described last.
struct KnownRelation {
    relation: Arc<Relation>,
    role: RelationRole,
}

/// What the rows of a relation are.
#[derive(Clone)]
enum RelationRole {
    Outbox(Arc<RowLayout>),
    ReplayRequests(RequestColumns),
    Ignored,
}

/// A message of the stream.
#[expect(clippy::large_enum_variant, reason = "events are the common variant, and consumed at once")]
pub(crate) enum WalMessage {
    Begin {
        final_lsn: Lsn,
    },
    Event(Event),
    Commit {
        end_lsn: Lsn,
    },
    /// A replay request for this relay's slot.
    ReplayRequest(ReplayNotice),
    Other,
}

impl OutboxDecoder {
    pub(crate) fn new(names: &Names, table_oid: Option<u32>) -> Self {
        OutboxDecoder {
            table: OutboxTable { name: names.table.clone(), columns: names.columns.clone(), oid: table_oid },
            replays: ReplayRequests::new(names.slot.clone()),
            decoder: Decoder::default(),
            relations: HashMap::new(),
            xid: 0,
            final_lsn: Lsn::ZERO,
        }
    }

    /// A new connection describes every relation again.
    pub(crate) fn reset(&mut self) {
        self.decoder = Decoder::default();
        self.relations.clear();
    }

    /// # Errors
    ///
    /// The message is malformed, the table lacks a column of the mapping, or a row cannot be read.
    pub(crate) fn decode(&mut self, data: Bytes) -> Result<WalMessage> {
        match self.decoder.decode(data).context("could not decode the replication stream")? {
            Change::Begin { final_lsn, xid, .. } => {
                (self.xid, self.final_lsn) = (xid, final_lsn);
                Ok(WalMessage::Begin { final_lsn })
            }
            Change::Commit { end_lsn, .. } => Ok(WalMessage::Commit { end_lsn }),
            Change::Insert { relation, new } => {
                let role = self.role(&relation)?;
                self.insert(&role, &new)
            }
            _ => Ok(WalMessage::Other),
        }
    }

    fn insert(&self, role: &RelationRole, row: &Tuple) -> Result<WalMessage> {
        match role {
            RelationRole::Outbox(layout) => match layout.event(row, self.xid) {
                Ok(event) => Ok(WalMessage::Event(event)),
                Err(unreadable) => {
                    let id =
                        unreadable.id.map_or_else(|| "with an unknown id".to_owned(), |id| id.to_string());
                    Err(anyhow!("row {id} of {} cannot be read: {unreadable}", self.table.name))
                }
            },
            RelationRole::ReplayRequests(columns) => {
                let notice = self.replays.notice(*columns, row, self.xid, self.final_lsn);
                Ok(notice.map_or(WalMessage::Other, WalMessage::ReplayRequest))
            }
            RelationRole::Ignored => Ok(WalMessage::Other),
        }
    }

    fn role(&mut self, relation: &Arc<Relation>) -> Result<RelationRole> {
        let is_current = |known: &&KnownRelation| Arc::ptr_eq(&known.relation, relation);
        if let Some(known) = self.relations.get(&relation.oid).filter(is_current) {
            return Ok(known.role.clone());
        }
        let role = self.describe(relation)?;
        let known = KnownRelation { relation: Arc::clone(relation), role: role.clone() };
        self.relations.insert(relation.oid, known);
        Ok(role)
    }

    fn describe(&self, relation: &Relation) -> Result<RelationRole> {
        if ReplayRequests::is_table(relation) {
            let columns = ReplayRequests::columns(relation);
            return Ok(columns.map_or(RelationRole::Ignored, RelationRole::ReplayRequests));
        }
        let OutboxTable { name, columns, oid } = &self.table;
        let has_name = relation.namespace == name.schema && relation.name == name.name;
        if !has_name && *oid != Some(relation.oid) {
            warn!(
                relation = format!("{}.{}", relation.namespace, relation.name),
                outbox = %name,
                "the publication publishes another table than the outbox; its rows are ignored"
            );
            return Ok(RelationRole::Ignored);
        }
        let names: Vec<&str> = relation.columns.iter().map(|column| column.name.as_str()).collect();
        info!(table = %name, columns = names.join(","), "reading the outbox table");
        Ok(RelationRole::Outbox(Arc::new(RowLayout::new(relation, columns)?)))
    }
}
