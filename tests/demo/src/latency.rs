//! The time from commit to consumer.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use uuid::Uuid;

use crate::ledger::Entries;

/// Percentiles of the time from the return of the shop's commit to the arrival of the record at the data platform, by
/// the monotonic clock of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Latency {
    p50: Duration,
    p99: Duration,
    max: Duration,
}

impl Latency {
    /// Of the entries after the first `skipped`; `None` where nothing arrived.
    pub(crate) fn of(
        entries: &Entries,
        skipped: usize,
        arrived: &HashMap<Uuid, Instant>,
    ) -> Result<Option<Latency>> {
        // Three digits, from a microsecond to an hour; longer ones count as an hour.
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 3_600_000_000, 3)?;
        for (sold, committed_at) in entries.sold.iter().zip(&entries.committed_at).skip(skipped) {
            if let Some(arrived_at) = arrived.get(&sold.id) {
                // A record can arrive before the shop's task resumes after its commit.
                let took = arrived_at.saturating_duration_since(*committed_at);
                histogram.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            }
        }
        let micros = Duration::from_micros;
        Ok((!histogram.is_empty()).then(|| Latency {
            p50: micros(histogram.value_at_quantile(0.5)),
            p99: micros(histogram.value_at_quantile(0.99)),
            max: micros(histogram.max()),
        }))
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |duration: Duration| duration.as_secs_f64() * 1_000.0;
        write!(f, "p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", ms(self.p50), ms(self.p99), ms(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::Sold;

    #[test]
    fn percentiles_are_of_what_arrived() {
        let start = Instant::now();
        let mut entries = Entries::default();
        let mut arrived = HashMap::new();
        for number in 1..=100_u32 {
            let id = Uuid::from_u128(number.into());
            entries.sold.push(Sold { id, topic: String::new(), key: String::new(), well_formed: true });
            entries.committed_at.push(start);
            arrived.insert(id, start + Duration::from_millis(number.into()));
        }
        arrived.remove(&Uuid::from_u128(100));
        let latency = Latency::of(&entries, 0, &arrived).unwrap().unwrap();
        assert_eq!(latency.to_string(), "p50 50.0 ms, p99 99.0 ms, max 99.0 ms");
        let latency = Latency::of(&entries, 98, &arrived).unwrap().unwrap();
        assert_eq!(latency.to_string(), "p50 99.0 ms, p99 99.0 ms, max 99.0 ms");
    }

    #[test]
    fn a_run_in_which_nothing_arrived_has_no_latency() {
        assert_eq!(Latency::of(&Entries::default(), 0, &HashMap::new()).unwrap(), None);
    }
}
