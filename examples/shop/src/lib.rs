//! An order service with payments, and a data platform that consumes their events.
//!
//! The service writes an outbox row in the same transaction as its business change and knows nothing of how
//! that row reaches Kafka; the data platform reads Kafka and knows nothing of the database.

mod connection;
mod dice;
mod error;
mod ledger;
mod order;
mod outbox_row;
mod pace;
mod platform;
mod schema;
mod sell;
mod sequences;
mod tally;
mod till;

pub use error::Error;
pub use ledger::Ledger;
pub use order::{Line, Odds, Order};
pub use outbox_row::OutboxRow;
pub use pace::Pace;
pub use platform::{Arrival, DataPlatform, Subscription, TOPICS, consume};
pub use schema::{create_tables, outbox_is_there};
pub use sell::{Day, Shop, sell};
pub use sequences::{Sequences, Step};
pub use tally::{Tally, Written};
