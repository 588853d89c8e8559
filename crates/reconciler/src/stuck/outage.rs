//! How long to wait before what did not work is tried again, and when it is told of.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::stuck::round_error::Trouble;

const FIRST: Duration = Duration::from_millis(100);
// What is overdue has waited for minutes.
const CAP: Duration = Duration::from_secs(10);
// Somebody has to change something.
const DEFINITE: Duration = Duration::from_secs(60);

/// What stands in the way of one round of work.
#[derive(Default)]
pub(super) struct Outages {
    pauses: Option<ExponentialBackoff>,
    told: Option<String>,
}

impl Outages {
    /// How long to wait. Tells of it once for as long as it lasts.
    pub(super) fn pause(&mut self, trouble: &Trouble) -> Duration {
        match trouble {
            Trouble::Store(error) if !error.is_retryable() => {
                let text = error.to_string();
                if self.told.as_ref() != Some(&text) {
                    tracing::error!("stuck rows are not looked for: {text}; trying again every minute");
                    self.told = Some(text);
                }
                self.pauses = None;
                return DEFINITE;
            }
            Trouble::Store(error) => {
                self.tell("looking for stuck rows waits for PostgreSQL", &error.to_string())
            }
            Trouble::Broker(away) => self.tell("looking for stuck rows waits for Kafka", &away.to_string()),
            Trouble::LifeOver => {}
        }
        let growing = ExponentialBuilder::new().with_min_delay(FIRST).with_max_delay(CAP);
        let pauses = self.pauses.get_or_insert_with(|| growing.without_max_times().with_jitter().build());
        pauses.next().unwrap_or(CAP).min(2 * CAP)
    }

    pub(super) fn over(&self) {
        if self.told.is_some() {
            tracing::info!("stuck rows are looked for again");
        }
    }

    fn tell(&mut self, what: &str, why: &str) {
        if self.told.is_none() {
            tracing::warn!("{what}: {why}");
            self.told = Some(why.to_owned());
        }
    }
}
