//! Where the table is.

pub use outbox_store::Database;
