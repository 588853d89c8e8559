//! Where the table is.

use outbox_store::{Names, Tls};

/// How the database is reached, and what is called what there.
#[derive(Clone)]
pub struct Database {
    /// How it is connected to, by whoever has something to do there; an idle relay holds no connection for it.
    pub config: tokio_postgres::Config,
    /// What secures the connection.
    pub tls: Tls,
    /// The table, its columns, and the slot.
    pub names: Names,
}
