//! Executing replay requests, the rows of table `postrider.replay`, one after the other.

mod connection;
mod executor;
mod notice;
mod notice_queue;
mod options;
mod progress_tracker;
mod rate_limiter;
mod replay_error;
mod row_feed;

pub use executor::execute_replays;
pub use notice::ReplayNotice;
pub use notice_queue::{ReplayNotices, ReplayNotifier, replay_notices};
pub use options::ReplayOptions;
