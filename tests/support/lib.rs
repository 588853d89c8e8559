//! What the integration tests share: real servers, the relay as a child process, and proofs.
//!
//! A test gets a [`Stage`]: a database, a slot and topics of its own on servers that all tests share, or on
//! servers of its own where it breaks them.

mod groups;
mod load;
mod output;
mod proof;
mod records;
mod relay;
mod rows;
mod servers;
mod stage;
mod wait;

pub use groups::{consumed, delete_records, delete_topic};
pub use load::{Load, LoadEnd, sell};
pub use output::print_line;
pub use proof::{assert_delivered, assert_keys_in_order, assert_placed, delivered_once};
pub use records::{Record, read_records};
pub use relay::Relay;
pub use rows::{NewRow, Row, incompressible, read_rows};
pub use servers::{shared_kafka, shared_postgres};
pub use stage::{Stage, StageBuilder};
pub use wait::{DEADLINE, eventually, wait_until};
