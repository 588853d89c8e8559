/// The description of a table, sent before its first row and again after every change of the table (PostgreSQL
/// documentation, "Logical Replication Message Formats", Relation).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// `pg_class.oid`.
    pub oid: u32,
    /// The schema name; empty for `pg_catalog`.
    pub namespace: String,
    /// The table name.
    pub name: String,
    /// `pg_class.relreplident`: `d`, `n`, `f` or `i`.
    pub replica_identity: u8,
    /// The published columns, in the order of every [`Tuple`](crate::Tuple) that refers to this description.
    pub columns: Vec<Column>,
}

impl Relation {
    /// The position of the published column `name` in every tuple of this relation.
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

/// One published column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// `pg_attribute.attname`.
    pub name: String,
    /// `pg_attribute.atttypid`.
    pub type_oid: u32,
    /// `pg_attribute.atttypmod`; -1 for a type without modifiers.
    pub type_modifier: i32,
    /// Whether the column belongs to the replica identity.
    pub part_of_key: bool,
}
