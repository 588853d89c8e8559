//! Decodes frames of the stream into messages for the ledger.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use outbox::{Columns, Event, Lsn, TableName};
use reconciler::ReplayNotice;
use tracing::{info, warn};
use wal_reader::{Change, Decoder, Relation, RowLayout, Tuple};

use crate::relay::source::replay_requests::{ReplayRequests, RequestColumns};

/// Decodes the stream of one connection and picks the outbox table's rows out of it.
pub(crate) struct Inbox {
    table: TableName,
    columns: Columns,
    decoder: Decoder,
    layouts: HashMap<u32, Known>,
    /// The transaction under way, and where its commit record stands.
    xid: u32,
    final_lsn: Lsn,
    /// The outbox table's, by which its rows are known even from under another name.
    oid: Option<u32>,
    replays: ReplayRequests,
}

/// What is known of a relation, as it was described last.
struct Known {
    relation: Arc<Relation>,
    rows: RelationRows,
}

/// What the rows of a relation are.
#[derive(Clone)]
enum RelationRows {
    Outbox(Arc<RowLayout>),
    ReplayRequests(RequestColumns),
    Ignored,
}

/// One message of the stream, as far as it concerns the outbox.
#[expect(clippy::large_enum_variant, reason = "a row is the common letter, and is opened at once")]
pub(crate) enum Letter {
    Begin {
        final_lsn: Lsn,
    },
    Row(Event),
    Commit {
        end_lsn: Lsn,
    },
    /// A replay request for this relay.
    ReplayRequest(ReplayNotice),
    /// Nothing of ours.
    Other,
}

impl Inbox {
    pub(crate) fn new(table: TableName, oid: Option<u32>, columns: Columns, slot: String) -> Self {
        Inbox {
            table,
            columns,
            decoder: Decoder::default(),
            layouts: HashMap::new(),
            xid: 0,
            final_lsn: Lsn::ZERO,
            oid,
            replays: ReplayRequests::new(slot),
        }
    }

    /// A new connection describes every relation anew.
    pub(crate) fn connected(&mut self) {
        self.decoder = Decoder::default();
        self.layouts.clear();
    }

    /// # Errors
    ///
    /// A message that is malformed, a table that cannot be an outbox, a row that is no event.
    pub(crate) fn open(&mut self, data: Bytes) -> Result<Letter> {
        match self.decoder.decode(data).context("the replication stream cannot be understood")? {
            Change::Begin { final_lsn, xid, .. } => {
                (self.xid, self.final_lsn) = (xid, final_lsn);
                Ok(Letter::Begin { final_lsn })
            }
            Change::Commit { end_lsn, .. } => Ok(Letter::Commit { end_lsn }),
            Change::Insert { relation, new } => {
                let rows = self.rows(&relation)?;
                self.insert(&rows, &new)
            }
            Change::Relation(_) | Change::Message { .. } | Change::Other(_) => Ok(Letter::Other),
        }
    }

    fn insert(&self, rows: &RelationRows, row: &Tuple) -> Result<Letter> {
        match rows {
            RelationRows::Outbox(layout) => {
                let event = layout.event(row, self.xid).map_err(|bad| {
                    let id = bad.id.map_or_else(|| "of unknown id".to_owned(), |id| id.to_string());
                    anyhow::anyhow!("row {id} of {} is no event: {bad}", self.table)
                })?;
                Ok(Letter::Row(event))
            }
            RelationRows::ReplayRequests(columns) => {
                let notice = self.replays.notice(*columns, row, self.xid, self.final_lsn);
                Ok(notice.map_or(Letter::Other, Letter::ReplayRequest))
            }
            RelationRows::Ignored => Ok(Letter::Other),
        }
    }

    fn rows(&mut self, relation: &Arc<Relation>) -> Result<RelationRows> {
        let oid = relation.oid;
        let is_known = |known: &Known| Arc::ptr_eq(&known.relation, relation);
        if let Some(known) = self.layouts.get(&oid).filter(|known| is_known(known)) {
            return Ok(known.rows.clone());
        }
        let rows = self.describe(relation)?;
        self.layouts.insert(oid, Known { relation: Arc::clone(relation), rows: rows.clone() });
        Ok(rows)
    }

    fn describe(&self, relation: &Relation) -> Result<RelationRows> {
        if ReplayRequests::is_table(relation) {
            let columns = ReplayRequests::columns(relation);
            return Ok(columns.map_or(RelationRows::Ignored, RelationRows::ReplayRequests));
        }
        let table = &self.table;
        let is_named_so = relation.namespace == table.schema && relation.name == table.name;
        if !is_named_so && self.oid != Some(relation.oid) {
            warn!(
                "the publication also sends {}.{}, which is not the outbox table {table}; its rows are passed over",
                relation.namespace, relation.name
            );
            return Ok(RelationRows::Ignored);
        }
        let names: Vec<&str> = relation.columns.iter().map(|column| column.name.as_str()).collect();
        info!(columns = names.join(","), "reading {table}");
        Ok(RelationRows::Outbox(Arc::new(RowLayout::new(relation, &self.columns)?)))
    }
}
