//! What is in the database, as values.

use outbox::TableName;

use crate::retention::month::Month;

/// Everything that `init` and `run` have to know, as [`inspect`](crate::inspect) found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogSnapshot {
    /// The server and its settings.
    pub server: CatalogServer,
    /// The role that asked.
    pub role: CatalogRole,
    /// The schema the outbox table is or would be in.
    pub table_schema: Option<CatalogSchema>,
    /// The outbox table.
    pub table: Option<CatalogTable>,
    /// The publication.
    pub publication: Option<CatalogPublication>,
    /// The slot, of whichever database.
    pub slot: Option<CatalogSlot>,
    /// Versions of the migrations of schema `postrider` that have been applied.
    pub migrations: Vec<i32>,
    /// Privileges on schema `postrider` that the role lacks although the thing is there, such as
    /// `USAGE ON SCHEMA postrider`.
    pub missing_privileges: Vec<String>,
    /// Whether the role owns `postrider.replay`; `None` if there is no such table.
    pub owns_replay: Option<bool>,
}

/// The server and its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogServer {
    /// `server_version_num`: 150004 is 15.4.
    pub version_num: i32,
    /// `server_version`, as people write it.
    pub version: String,
    /// Whether it is a standby.
    pub standby: bool,
    /// `wal_level`.
    pub wal_level: String,
    /// `max_replication_slots`.
    pub slots_max: i32,
    /// How many slots there are.
    pub slots: i32,
    /// The database of the connection.
    pub database: String,
    /// The month that it is, by its clock.
    pub month: Month,
}

/// The role of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogRole {
    /// Its name.
    pub name: String,
    /// Whether it may make and read slots.
    pub replication: bool,
    /// Whether it may make schemas and publications in the database.
    pub create_in_database: bool,
}

/// A schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogSchema {
    /// Whether the role may use what is in it.
    pub usage: bool,
    /// Whether the role may make tables in it.
    pub create: bool,
}

/// The outbox table, or whatever bears its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogTable {
    /// `relkind`: `r` a table, `p` a partitioned one.
    pub kind: String,
    /// Whether what is written to it is in the log.
    pub logged: bool,
    /// Whether the role owns it.
    pub owned: bool,
    /// Whether policies decide which of its rows the role sees.
    pub row_security: bool,
    /// Whether the role may delete its rows.
    pub delete: bool,
    /// The fillfactor, 100 where it is not set.
    pub fillfactor: i32,
    /// Its partitions.
    pub partitions: Vec<CatalogPartition>,
    /// Its columns.
    pub columns: Vec<CatalogColumn>,
    /// Its indexes.
    pub indexes: Vec<CatalogIndex>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogPartition {
    /// Its schema and name.
    pub name: TableName,
    /// The month that it holds, if its name and its bounds are those that `init --partitioned` gives.
    pub month: Option<Month>,
    /// Whether it takes what no other takes.
    pub default: bool,
    /// `relkind`: `r` a table, `p` one that is partitioned itself, `f` a foreign one.
    pub kind: String,
    /// The fillfactor, 100 where it is not set.
    pub fillfactor: i32,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogColumn {
    /// Its name.
    pub name: String,
    /// Its type, as `format_type` names it, and what a domain is over.
    pub type_name: String,
    /// Whether the type is not one of PostgreSQL's own and its values are text: an enum, a domain over text,
    /// `citext`.
    pub text_of_user: bool,
    /// Whether it is generated; pgoutput leaves such columns out.
    pub generated: bool,
    /// Its default, as SQL.
    pub default: Option<String>,
    /// Whether the role may read it.
    pub select: bool,
    /// Whether the role may change it.
    pub update: bool,
}

/// An index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogIndex {
    /// Its name.
    pub name: String,
    /// Whether the planner may use it to find any row: valid and not partial.
    pub usable: bool,
    /// Whether rows come out of it in the order of its columns: whether it is a B-tree.
    pub ordered: bool,
    /// Its first column; absent where that is an expression.
    pub leads_with: Option<String>,
    /// Every column that its keys, expressions or predicate touch.
    pub touches: Vec<String>,
    /// Whether a change of such a column ends HOT updates; those of BRIN have not since PostgreSQL 16.
    pub ends_hot: bool,
}

/// The publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogPublication {
    /// Whether the role owns it.
    pub owned: bool,
    /// `FOR ALL TABLES`.
    pub all_tables: bool,
    /// Whether it publishes inserts.
    pub inserts: bool,
    /// What else it publishes, such as `update`.
    pub more: Vec<String>,
    /// `publish_via_partition_root`.
    pub via_root: bool,
    /// How it covers the outbox table, if it does.
    pub published_table: Option<PublishedTable>,
    /// Whether it covers `postrider.replay`, whose inserts are replay requests.
    pub replay: bool,
}

/// How a publication covers a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedTable {
    /// The row filter.
    pub row_filter: Option<String>,
    /// The columns it publishes; absent where the server has no column lists.
    pub columns: Option<Vec<String>>,
}

/// The slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogSlot {
    /// The output plugin; absent for a physical slot.
    pub plugin: Option<String>,
    /// The database; absent for a physical slot.
    pub database: Option<String>,
    /// Whether it ends with the connection that made it.
    pub temporary: bool,
    /// `wal_status`: `lost` where the log it needs is gone.
    pub wal_status: Option<String>,
    /// Why the server has invalidated it (PostgreSQL 17 and later).
    pub invalidation_reason: Option<String>,
    /// Whether it is kept up on standbys (PostgreSQL 17 and later).
    pub failover: Option<bool>,
}
