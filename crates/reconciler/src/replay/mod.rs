//! Carrying out requests to send rows again, one after the other.

mod announcement;
mod connection;
mod counts;
mod executor;
mod notice;
mod notice_queue;
mod options;
mod pace;
mod pending_notices;
mod progress_tracker;
mod row_feed;
mod throttled_warning;

pub use announcement::{MalformedAnnouncement, parse_announcement};
pub use counts::ReplayCounts;
pub use executor::execute_replays;
pub use notice::{Announced, Missed, Told};
pub use options::ReplayOptions;
