//! The evidence of a broker, in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use outbox::RecordPosition;
use outbox::{LogBounds, RecordAtOffset};
use reconciler::{EvidenceUnavailable, KafkaEvidence};

#[derive(Clone, Default)]
pub(crate) struct Kafka {
    state: Arc<Mutex<KafkaState>>,
}

#[derive(Default)]
pub(crate) struct KafkaState {
    /// By partition of topic `t`.
    pub(crate) logs: BTreeMap<i32, Log>,
    pub(crate) is_down: bool,
    pub(crate) requests: usize,
    /// Records read.
    pub(crate) probes: usize,
    /// Replaces the log of the next partition that is probed.
    pub(crate) replace_when_probed: Option<Log>,
}

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) start: i64,
    pub(crate) records: Vec<RecordAtOffset>,
    pub(crate) committed: i64,
}

impl Kafka {
    pub(crate) fn state(&self) -> MutexGuard<'_, KafkaState> {
        self.state.lock().expect("not poisoned")
    }

    pub(crate) fn append(&self, partition: i32, record: RecordAtOffset) -> i64 {
        let mut state = self.state();
        let records = &mut state.logs.entry(partition).or_default().records;
        records.push(record);
        records.len() as i64 - 1
    }

    fn request(&self) -> Result<MutexGuard<'_, KafkaState>, EvidenceUnavailable> {
        let mut state = self.state();
        state.requests += 1;
        if state.is_down { Err(EvidenceUnavailable("no broker answers".to_owned())) } else { Ok(state) }
    }
}

impl KafkaEvidence for Kafka {
    async fn bounds(&self, topic: &str, partition: i32) -> Result<Option<LogBounds>, EvidenceUnavailable> {
        let state = self.request()?;
        let log = state.logs.get(&partition).filter(|_| topic == "t");
        Ok(log.map(|log| LogBounds { start: log.start, end: log.records.len() as i64 }))
    }

    async fn committed(&self, partitions: &[(String, i32)]) -> Result<Vec<i64>, EvidenceUnavailable> {
        let state = self.request()?;
        Ok(partitions
            .iter()
            .map(|(_, partition)| state.logs.get(partition).map_or(0, |log| log.committed))
            .collect())
    }

    async fn record_at(&self, place: &RecordPosition) -> Result<RecordAtOffset, EvidenceUnavailable> {
        let mut state = self.request()?;
        state.probes += 1;
        if let Some(cut) = state.replace_when_probed.take() {
            state.logs.insert(place.partition, cut);
        }
        let Some(log) = state.logs.get(&place.partition).filter(|log| log.start <= place.offset) else {
            return Ok(RecordAtOffset::Absent);
        };
        Ok(log.records.get(place.offset as usize).copied().unwrap_or(RecordAtOffset::Absent))
    }
}
