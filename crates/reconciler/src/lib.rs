//! Stuck rows and replays: what is to be sent again, and why.
//!
//! Nothing here publishes. What is planned goes through a [`Publisher`] to the pump that publishes live rows, so
//! that there is one order of sending.

mod planned;

pub use planned::{Intake, LifeOver, Origin, Outcome, Planned, Publisher, Work, planning};
