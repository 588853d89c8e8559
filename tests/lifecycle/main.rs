//! Row states after sending or failing to send, against real servers.

mod failure;
mod queries;
mod receipts;
mod replay;
mod retention;
mod stuck;
