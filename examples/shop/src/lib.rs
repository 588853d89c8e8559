//! An order service with payments, and a data platform that consumes their events.
//!
//! The service inserts an outbox row in the transaction of its business change; it depends on PostgreSQL only. The
//! data platform consumes the records; it depends on Kafka only.

mod connection;
mod consumer;
mod counting_ledger;
mod error;
mod ledger;
mod order;
mod order_rng;
mod outbox_row;
mod pace;
mod sales_worker;
mod schema;
mod sell;
mod sequence_tracker;

pub use consumer::{ReceivedRecord, RecordHandler, Subscription, TOPICS, consume};
pub use counting_ledger::{CountingLedger, RowCounts};
pub use error::Error;
pub use ledger::Ledger;
pub use order::{FaultRates, Order, OrderLine};
pub use outbox_row::OutboxRow;
pub use pace::Pace;
pub use schema::{create_tables, outbox_exists};
pub use sell::{Shop, Workload, sell};
pub use sequence_tracker::{SequenceStep, SequenceTracker};
