use outbox::{Columns, TableName};

/// The names of everything in the database, as the configuration has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The outbox table.
    pub table: TableName,
    /// Its columns.
    pub columns: Columns,
    /// The publication.
    pub publication: String,
    /// The logical replication slot.
    pub slot: String,
}

impl Default for Names {
    fn default() -> Self {
        let postrider = || "postrider".to_owned();
        Names {
            table: TableName { schema: "public".to_owned(), name: "outbox".to_owned() },
            columns: Columns::default(),
            publication: postrider(),
            slot: postrider(),
        }
    }
}
