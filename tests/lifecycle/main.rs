//! What becomes of a row after it was sent, or could not be: against real servers.

mod failure;
mod queries;
mod receipts;
mod replay;
mod retention;
mod stuck;
